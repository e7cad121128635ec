//! What others say, before it is repeated: in a log, on a page, or to a peer.

/// The end of what is cut.
const CUT: &str = " ...";
/// What is repeated of others.
const LONGEST: usize = 300;

/// The beginning of somebody else's text that is too long to be repeated.
pub fn bounded(text: &str) -> String {
    at_most(text, LONGEST)
}

/// The first so many letters.
pub fn at_most(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}{CUT}", &text[..end]),
    }
}

/// A server's answer to a command that carries a secret. Servers repeat what they do not understand: from
/// the first quote to the last one it is left out, and so is whatever lists arguments. Where the last quote
/// may have been cut off, nothing after the first is kept.
pub fn without_arguments(text: &str) -> String {
    let text = text.split(", with args").next().unwrap_or_default();
    let quotes = ['\'', '"', '`'];
    let Some(first) = text.find(quotes) else {
        return text.to_owned();
    };
    let last = text.rfind(quotes);
    let last = last.filter(|last| *last > first && !text.ends_with(CUT));
    let rest = last.map_or("", |last| &text[last + 1..]);
    format!("{}'...'{rest}", &text[..first])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_answers_are_left_out() {
        for answer in [
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'it is a secret' ",
            "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `it is a secret`, ",
            "ERR Error in ACL SETUSER modifier '>it' is \"a' secret': Syntax error",
            "ERR Error in ACL SETUSER modifier '#it is a secret': The password hash must be exactly 64 characters",
        ] {
            let told = without_arguments(answer);
            assert!(
                !told.contains("secret") && told.starts_with("ERR"),
                "{told}"
            );
        }
        // Cut first: the quote that ends it is gone, and one in the middle of it is not the last.
        for long in ["secret ".repeat(100), "sec'ret secret ".repeat(50)] {
            let answer = format!("ERR Invalid argument '{long}' for CONFIG SET 'masterauth'");
            let told = without_arguments(&bounded(&answer));
            assert_eq!(told, "ERR Invalid argument '...'");
        }
        let ended = "ERR Error in ACL SETUSER modifier '!00': The password you are trying to remove from the user does not exist";
        assert!(without_arguments(ended).ends_with("does not exist"));
    }

    #[test]
    fn what_is_long_is_cut_between_letters() {
        let long = "\u{e4}".repeat(1000);
        assert_eq!(bounded(&long).chars().count(), LONGEST + 4);
        assert_eq!(bounded("short"), "short");
    }
}
