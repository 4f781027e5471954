//! Generated passphrases: words of the EFF's large list (Bonneau, "EFF's New Wordlists for Random
//! Passphrases", 2016; Creative Commons Attribution 3.0), 12.9 bits each.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Words of a generated passphrase: 90 bits, so that whoever has the shares of t identity nodes, or a
/// quantum computer, still has to guess in vain.
pub const PASSPHRASE_WORDS: usize = 7;

const WORDS: usize = 7776;
static LIST: &str = include_str!("eff_large.txt");

/// A passphrase of [`PASSPHRASE_WORDS`] words with spaces between, each drawn uniformly.
pub fn generate_passphrase(rng: &mut impl CryptoRng) -> Zeroizing<String> {
    let words: Vec<&str> = LIST.lines().collect();
    // The longest word has nine letters: the string never grows.
    let mut passphrase = Zeroizing::new(String::with_capacity(10 * PASSPHRASE_WORDS));
    for place in 0..PASSPHRASE_WORDS {
        if place > 0 {
            passphrase.push(' ');
        }
        passphrase.push_str(words[draw(rng)]);
    }
    passphrase
}

/// A uniform place in the list, by rejection.
fn draw(rng: &mut impl CryptoRng) -> usize {
    const BOUND: u32 = u32::MAX - u32::MAX % WORDS as u32;
    loop {
        let drawn = rng.next_u32();
        if drawn < BOUND {
            return drawn as usize % WORDS;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn the_list_is_the_whole_list() {
        let words: Vec<&str> = LIST.lines().collect();
        assert_eq!(words.len(), WORDS);
        assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "no word twice");
        let plain = |word: &&str| word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-'));
        assert!(words.iter().all(|word| (3..=9).contains(&word.len()) && plain(word)));
        let digest = blake3::hash(LIST.as_bytes()).to_hex();
        assert_eq!(
            digest.as_str(),
            "af809c5955286a77b5e182b5916ae659e3a675cbbb58f65deb41fc1ed170acb9"
        );
    }

    #[test]
    fn passphrases_have_seven_words_of_the_list() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (first, second) = (generate_passphrase(&mut rng), generate_passphrase(&mut rng));
        assert_ne!(*first, *second);
        assert!(first.split(' ').all(|word| LIST.lines().any(|known| known == word)));
        assert_eq!(first.split(' ').count(), PASSPHRASE_WORDS);
        assert_eq!(first.capacity(), 10 * PASSPHRASE_WORDS);
    }

    #[test]
    fn every_word_is_drawn() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut drawn = vec![false; WORDS];
        (0..20 * WORDS).for_each(|_| drawn[draw(&mut rng)] = true);
        assert!(drawn.iter().all(|word| *word));
    }
}
