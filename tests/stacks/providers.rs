//! The providers of docs/providers.md: their documented responses, played to the code that is shown
//! there.

mod own_names;
mod played;
mod rfc;
mod setups;
mod signed;

use played::{at, played};

#[test]
fn the_code_of_the_page_is_the_code_that_is_tested() {
    let page = include_str!("../../docs/providers.md");
    let tested = include_str!("providers/setups.rs").replace("pub(super) ", "");
    let blocks: Vec<_> = page
        .split("```rust\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .filter(|block| !block.starts_with("use "))
        .collect();
    assert!(blocks.len() > 20, "{}", blocks.len());
    for block in blocks {
        // rustfmt breaks a line that the words before the function's name have made too long.
        let squeeze = |text: &str| text.split_whitespace().collect::<String>().replace(",)", ")");
        assert!(squeeze(&tested).contains(&squeeze(block)), "{block}");
    }
}
