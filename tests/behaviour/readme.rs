//! The README keeps to what it says of itself.

/// To a signed request at any provider of OAuth 2, the imports included.
#[test]
fn the_program_for_oauth_2_takes_at_most_twelve_lines() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### With OAuth 2").unwrap();
    let program = section.split("```").nth(1).unwrap();
    // rustdoc hides a line that begins with `# `.
    let is_shown = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let lines: Vec<_> = program.lines().skip(1).filter(is_shown).collect();
    assert!(lines.iter().any(|line| line.contains("oneshot")), "it sends a request");
    assert!(lines.len() <= 12, "{} lines: {lines:#?}", lines.len());
}
