//! RFC 9497 appendices A.1.1 and A.1.2, whole: ristretto255-SHA512 in the modes OPRF and VOPRF.

use super::*;

const SEED: [u8; 32] = [0xa3; 32];
const KEY_INFO: &[u8] = b"test key";
const BASE_KEY: &str = "5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e";
const VERIFIABLE_KEY: &str = "e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909";
const VERIFIABLE_PUBLIC_KEY: &str =
    "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e";

struct Vector {
    mode: Mode,
    inputs: &'static [&'static str],
    blinds: &'static [&'static str],
    blinded: &'static [&'static str],
    evaluated: &'static [&'static str],
    /// The nonce and the proof.
    proof: Option<(&'static str, &'static str)>,
    outputs: &'static [&'static str],
}

const VECTORS: &[Vector] = &[
    Vector {
        mode: Mode::Base,
        inputs: &["00"],
        blinds: &["64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"],
        blinded: &["609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c"],
        evaluated: &["7ec6578ae5120958eb2db1745758ff379e77cb64fe77b0b2d8cc917ea0869c7e"],
        proof: None,
        outputs: &[
            "527759c3d9366f277d8c6020418d96bb393ba2afb20ff90df23fb7708264e2f3ab9135e3bd69955851de4b1f9fe8a0973396719b7912ba9ee8aa7d0b5e24bcf6",
        ],
    },
    Vector {
        mode: Mode::Base,
        inputs: &["5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"],
        blinds: &["64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"],
        blinded: &["da27ef466870f5f15296299850aa088629945a17d1f5b7f5ff043f76b3c06418"],
        evaluated: &["b4cbf5a4f1eeda5a63ce7b77c7d23f461db3fcab0dd28e4e17cecb5c90d02c25"],
        proof: None,
        outputs: &[
            "f4a74c9c592497375e796aa837e907b1a045d34306a749db9f34221f7e750cb4f2a6413a6bf6fa5e19ba6348eb673934a722a7ede2e7621306d18951e7cf2c73",
        ],
    },
    Vector {
        mode: Mode::Verifiable,
        inputs: &["00"],
        blinds: &["64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"],
        blinded: &["863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945"],
        evaluated: &["aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e"],
        proof: Some((
            "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e",
            "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd066d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d",
        )),
        outputs: &[
            "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7da4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c",
        ],
    },
    Vector {
        mode: Mode::Verifiable,
        inputs: &["5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"],
        blinds: &["64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"],
        blinded: &["cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c"],
        evaluated: &["60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468"],
        proof: Some((
            "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e",
            "401a0da6264f8cf45bb2f5264bc31e109155600babb3cd4e5af7d181a2c9dc0a67154fabf031fd936051dec80b0b6ae29c9503493dde7393b722eafdf5a50b02",
        )),
        outputs: &[
            "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6",
        ],
    },
    Vector {
        mode: Mode::Verifiable,
        inputs: &["00", "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"],
        blinds: &[
            "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706",
            "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e",
        ],
        blinded: &[
            "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
            "90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654",
        ],
        evaluated: &[
            "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
            "cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a",
        ],
        proof: Some((
            "419c4f4f5052c53c45f3da494d2b67b220d02118e0857cdbcf037f9ea84bbe0c",
            "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08",
        )),
        outputs: &[
            "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7da4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c",
            "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6",
        ],
    },
];

#[test]
fn every_vector_of_the_rfc_comes_out() {
    for vector in VECTORS {
        let key = derive_key(vector.mode);
        let public = Element::new(RistrettoPoint::mul_base(&key)).unwrap();
        let (mut blinded, mut evaluated) = (Vec::new(), Vec::new());
        for (place, input) in vector.inputs.iter().enumerate() {
            let blinding =
                Blinding::with(vector.mode, &unhex(input), scalar(vector.blinds[place])).unwrap();
            let element = Element::new(key * blinding.blinded.0).unwrap();
            assert_eq!(hex(&blinding.blinded.to_bytes()), vector.blinded[place]);
            assert_eq!(hex(&element.to_bytes()), vector.evaluated[place]);
            assert_eq!(hex(&*blinding.finalize(&element)), vector.outputs[place]);
            blinded.push(blinding.blinded);
            evaluated.push(element);
        }
        if let Some((nonce, expected)) = vector.proof {
            let nonce = scalar(nonce);
            let proof = prove(vector.mode, &key, &public, &blinded, &evaluated, &nonce);
            assert_eq!(hex(&proof.to_bytes()), expected);
            assert!(verify(vector.mode, &public, &blinded, &evaluated, &proof));
            evaluated[0] = blinded[0];
            assert!(!verify(vector.mode, &public, &blinded, &evaluated, &proof));
        }
    }
}

#[test]
fn the_keys_of_the_rfc_come_out() {
    assert_eq!(hex(derive_key(Mode::Base).as_bytes()), BASE_KEY);
    let key = derive_key(Mode::Verifiable);
    assert_eq!(hex(key.as_bytes()), VERIFIABLE_KEY);
    let public = Key::from_scalar(key).public().unwrap();
    assert_eq!(hex(&public.to_bytes()), VERIFIABLE_PUBLIC_KEY);
}

/// The product's own path through the same functions.
#[test]
fn an_evaluation_of_the_product_is_that_of_the_rfc() {
    let vector = VECTORS.iter().find(|vector| vector.proof.is_some()).unwrap();
    let key = Key::from_scalar(derive_key(Mode::Verifiable));
    let blinded = Element::from_bytes(unhex(vector.blinded[0]).try_into().unwrap()).unwrap();
    let (nonce, proof) = vector.proof.unwrap();
    let evaluation = key.evaluate_with(&blinded, &scalar(nonce)).unwrap();
    assert_eq!(hex(&evaluation.element.to_bytes()), vector.evaluated[0]);
    assert_eq!(hex(&evaluation.proof.to_bytes()), proof);
    assert!(evaluation.verifies(&blinded));
}

#[test]
fn the_identity_and_what_is_no_element_are_refused() {
    assert!(Element::from_bytes([0; 32]).is_none());
    assert!(Element::from_bytes([0xff; 32]).is_none());
    assert!(Key::from_bytes(&Zeroizing::new([0; 32])).is_none());
    assert!(Key::from_bytes(&Zeroizing::new([0xff; 32])).is_none());
    assert!(Proof::from_bytes(&[0xff; 64]).is_none());
}

/// DeriveKeyPair (§3.2.1), whose counter the vectors never raise.
fn derive_key(mode: Mode) -> Scalar {
    let parts: [&[u8]; 4] = [&SEED, &prefix(KEY_INFO), KEY_INFO, &[0]];
    hash_to_scalar(&parts, &mode.context("DeriveKeyPair"))
}

fn scalar(digits: &str) -> Scalar {
    Scalar::from_canonical_bytes(unhex(digits).try_into().unwrap()).unwrap()
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
