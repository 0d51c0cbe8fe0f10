//! The words of a text.

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

/// The places of the words of a text, in bytes. A word is a run of letters, digits, low lines and combining marks of any script. An apostrophe
/// or a hyphen ends it: `he's` is the words `he` and `s`.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for (place, letter) in text.char_indices() {
        let begins = letter.is_alphanumeric() || letter == '_';
        match start {
            None if begins => start = Some(place),
            Some(first) if !begins && !is_combining_mark(letter) => {
                found.push(first..place);
                start = None;
            }
            _ => {}
        }
    }
    found.extend(start.map(|first| first..text.len()));
    found
}

/// The four ways of writing a listed word that are looked for: as listed, with a capital first letter, with a capital first letter of each word,
/// in capitals. A word that is listed with a capital is thus never found without one.
pub(super) fn ways(listed: &str) -> [String; 4] {
    let first = words(listed).into_iter().take(1);
    let capital = capitalised(listed, first);
    let title = capitalised(listed, words(listed).into_iter());
    [listed.to_owned(), capital, title, listed.to_uppercase()]
}

/// A text with the first letters of some of its words in capitals.
fn capitalised(text: &str, words: impl Iterator<Item = Range<usize>>) -> String {
    let (mut made, mut done) = (String::new(), 0);
    for word in words {
        made.push_str(&text[done..word.start]);
        let mut letters = text[word.clone()].chars();
        made.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        done = word.end - letters.as_str().len();
    }
    made + &text[done..]
}
