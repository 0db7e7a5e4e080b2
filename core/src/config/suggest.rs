//! "Did you mean": the candidate that a misspelt word most likely stands for.

/// The nearest candidate, when it is near enough to be worth a suggestion.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    // A third of the letters may differ: enough for a slip, too little to turn one word into another.
    let distance_max = (folded.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Words of a fixed set as a person would list them: `a`, `b` or `c`.
pub fn alternatives<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// Spelling that people mix up is made equal: case, `_`, `-` and blanks.
fn fold(word: &str) -> Vec<char> {
    // A hostile key of a megabyte must not make the quadratic comparison below expensive.
    const COMPARED_CHARACTERS_MAX: usize = 64;
    word.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .take(COMPARED_CHARACTERS_MAX)
        .collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut rows = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    #[expect(clippy::needless_range_loop, reason = "indices are the distances")]
    for j in 0..=right.len() {
        rows[0][j] = j;
    }
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_slip_finds_the_word() {
        let keys = ["endpoint", "bindAddress", "streamingDomain", "fence"];
        assert_eq!(nearest("endpiont", keys), Some("endpoint"));
        assert_eq!(nearest("bind_address", keys), Some("bindAddress"));
        assert_eq!(nearest("streamingDomains", keys), Some("streamingDomain"));
        assert_eq!(nearest("Fence", keys), Some("fence"));
    }

    #[test]
    fn nearest_other_word_finds_nothing() {
        assert_eq!(nearest("replicas", ["endpoint", "name", "fence"]), None);
        assert_eq!(nearest("", ["id"]), None);
    }

    #[test]
    fn alternatives_are_listed_as_in_a_sentence() {
        assert_eq!(alternatives(["a"]), "`a`");
        assert_eq!(alternatives(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
