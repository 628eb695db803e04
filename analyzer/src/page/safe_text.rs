//! Text from a traced program, made safe to show and safe to put into a script element.
//!
//! Names are the program's own: they may hold markup, control characters, or characters that turn
//! the direction of the text around them.

use serde::Serialize;
use serde_json::Value;

use crate::symbol::is_unseen;

/// Text without characters that are not seen or that move others; each stands there as `⟨U+202E⟩`.
/// Line breaks and tabs become spaces. What is longer ends in `…`.
pub(super) fn visible(text: &str, most_characters: usize) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut characters = 0;
    for character in text.chars() {
        let piece = match character {
            '\n' | '\r' | '\t' => " ".to_owned(),
            character if is_unseen(character) => format!("⟨U+{:04X}⟩", u32::from(character)),
            character => character.to_string(),
        };
        characters += piece.chars().count();
        if characters > most_characters {
            shown.push('…');
            break;
        }
        shown.push_str(&piece);
    }
    shown
}

/// A value with every text in it made visible.
pub(super) fn visible_value(value: &impl Serialize, most_characters: usize) -> Value {
    // The model's maps have text as keys: it always becomes JSON.
    let mut value = serde_json::to_value(value).unwrap_or_default();
    make_visible(&mut value, most_characters);
    value
}

fn make_visible(value: &mut Value, most_characters: usize) {
    match value {
        Value::String(text) => *text = visible(text, most_characters),
        Value::Array(values) => {
            values.iter_mut().for_each(|value| make_visible(value, most_characters));
        }
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| make_visible(value, most_characters));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// JSON for the inside of a script element: nothing in it can end the element or begin a comment.
pub(super) fn in_script(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut safe = String::with_capacity(json.len() + json.len() / 16);
    for character in json.chars() {
        match character {
            // In JSON these stand in texts only, where the escape means the same.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_named() {
        assert_eq!(
            visible("a\u{202e}b\0c\u{2028}\u{7f}", 99),
            "a⟨U+202E⟩b⟨U+0000⟩c⟨U+2028⟩⟨U+007F⟩"
        );
        assert_eq!(visible("two\nlines\tü 漢", 99), "two lines ü 漢");
        assert_eq!(visible("abcdef", 3), "abc…");
        assert_eq!(visible("abc", 3), "abc");
    }

    #[test]
    fn json_in_a_script_cannot_end_it_and_means_the_same() {
        let hostile = "</script><!--<script>&\"'\u{2028}\u{2029}";
        let safe = in_script(&[hostile]);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{safe}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), [hostile]);
    }

    #[test]
    fn every_text_of_a_value_is_made_visible() {
        let value = visible_value(&vec![("a", vec!["\u{202e}"])], 99);
        assert_eq!(value, serde_json::json!([["a", ["⟨U+202E⟩"]]]));
    }
}
