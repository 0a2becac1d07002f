//! The README keeps to what it says of itself.

/// To a signed request at any provider of OAuth 2: the imports, and what is in the function.
#[test]
fn the_program_for_oauth_2_takes_at_most_twelve_lines() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### With OAuth 2").unwrap();
    let program = section.split("```").nth(1).unwrap();
    let is_of_the_way = |line: &&str| {
        let is_frame = line.starts_with("async fn") || *line == "}";
        !line.is_empty() && !is_frame
    };
    let lines: Vec<_> = program.lines().skip(1).filter(is_of_the_way).collect();
    assert!(lines.iter().any(|line| line.contains(".send(")), "it sends a request");
    assert!(lines.len() <= 12, "{} lines: {lines:#?}", lines.len());
}
