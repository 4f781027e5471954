//! Secrecy, by rank for real parameters and by counting every message over subfields.
//!
//! Both drive the dealer itself: 32 lanes of a symbol are 32 messages at once.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use crate::gf::{self, Matrix};
use crate::keyshare::message::Message;
use crate::keyshare::parameters::{Binding, KeyParameters, SECRET_LEN};
use crate::keyshare::share::Share;
use crate::keyshare::symbol::Symbol;
use crate::names::{Epoch, Slot};

/// (n, k, d). The theorem holds for every d; the last is beyond what KS1 admits (spec §1).
const PARAMETERS: [(u8, u8, u8); 8] =
    [(3, 2, 2), (4, 2, 3), (5, 3, 3), (5, 3, 4), (10, 5, 5), (10, 5, 6), (20, 10, 11), (20, 8, 16)];

/// The entries of M that the dealer chooses, in its order.
fn entries(k: u8, d: u8) -> Vec<(u8, u8)> {
    (0..k).flat_map(|a| (a..d).map(move |b| (a, b))).collect()
}

fn is_secret(k: u8, d: u8, (row, column): (u8, u8)) -> bool {
    row == 0 && if d > k { column >= k } else { column == 0 }
}

/// A message whose lane t is `entry(base + t, e)` at the e-th entry.
fn lanes(k: u8, d: u8, base: usize, entry: impl Fn(usize, usize) -> u8) -> Message {
    let mut position = 0;
    Message::fill(k, d, |_, _| {
        let values = std::array::from_fn(|lane| entry(base + lane, position));
        position += 1;
        Symbol::from(values)
    })
}

/// Linear forms in the dealer's entries, one a row.
type Forms = Vec<Vec<u8>>;

/// The forms that `observe` sees, found by dealing every unit message.
fn forms(k: u8, d: u8, observe: impl Fn(&Message) -> Vec<Symbol>) -> Forms {
    let dimension = entries(k, d).len();
    let mut forms: Forms = Vec::new();
    for base in (0..dimension).step_by(SECRET_LEN) {
        let seen = observe(&lanes(k, d, base, |unit, position| u8::from(unit == position)));
        forms.resize(seen.len(), Vec::new());
        let width = SECRET_LEN.min(dimension - base);
        for (form, symbol) in forms.iter_mut().zip(seen) {
            form.extend_from_slice(&symbol.expose()[..width]);
        }
    }
    forms
}

fn shares_of(message: &Message, slots: &[Slot]) -> Vec<Symbol> {
    slots.iter().flat_map(|&slot| message.share(slot).columns().to_vec()).collect()
}

fn secret_forms(k: u8, d: u8) -> Forms {
    let entries = entries(k, d);
    let unit = |at| (0..entries.len()).map(|other| u8::from(other == at)).collect();
    (0..entries.len()).filter(|&at| is_secret(k, d, entries[at])).map(unit).collect()
}

fn rank(forms: &Forms) -> usize {
    Matrix::from_rows(forms[0].len(), forms).rank()
}

/// Dimensions of the secret that a view gives away.
fn leak(view: &Forms, secret: &Forms) -> usize {
    let both = [view.clone(), secret.clone()].concat();
    let view_rank = if view.is_empty() { 0 } else { rank(view) };
    view_rank + rank(secret) - rank(&both)
}

/// Parameters and the slots in a random order.
fn group() -> impl Strategy<Value = ((u8, u8, u8), Vec<Slot>)> {
    prop::sample::select(PARAMETERS.as_slice()).prop_flat_map(|parameters| {
        let slots: Vec<Slot> = Slot::all(parameters.0).collect();
        (Just(parameters), Just(slots).prop_shuffle())
    })
}

#[test]
fn no_k_minus_1_slots_learn_and_any_k_do() {
    for (n, k, d) in PARAMETERS {
        let slots: Vec<Slot> = Slot::all(n).collect();
        let (few, enough) = (&slots[usize::from(n - k) + 1..], &slots[..usize::from(k)]);
        let secret = secret_forms(k, d);
        let view = forms(k, d, |message| shares_of(message, few));
        let (seen, columns) = (few.len(), usize::from(d));
        assert_eq!(rank(&view), seen * columns - seen * (seen - 1) / 2, "({n}, {k}, {d})");
        assert_eq!(leak(&view, &secret), 0, "({n}, {k}, {d})");
        let view = forms(k, d, |message| shares_of(message, enough));
        assert_eq!(leak(&view, &secret), secret.len(), "({n}, {k}, {d})");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn repairs_of_k_minus_1_slots_add_nothing(((_, k, d), slots) in group()) {
        let corrupt = &slots[..usize::from(k) - 1];
        let shares = forms(k, d, |message| shares_of(message, corrupt));
        let with_repairs = forms(k, d, |message| {
            let mut seen = shares_of(message, corrupt);
            for helper in slots.iter().map(|&slot| message.share(slot)) {
                let repaired = corrupt.iter().filter(|&&slot| slot != helper.slot());
                seen.extend(repaired.map(|&slot| helper.pair_symbol(slot)));
            }
            seen
        });
        prop_assert_eq!(rank(&shares), rank(&with_repairs));
        prop_assert_eq!(leak(&with_repairs, &secret_forms(k, d)), 0);
    }

    #[test]
    fn two_epochs_do_not_add_up(((_, k, d), slots) in group(), start in any::<Index>()) {
        let size = usize::from(k) - 1;
        let start = start.index(slots.len() - size + 1);
        let entries = entries(k, d);
        let view = |corrupt: &[Slot]| forms(k, d, |message| shares_of(message, corrupt));
        // The refreshed message has the same secret entries and fresh others.
        let mut both: Forms = view(&slots[..size]);
        for form in &mut both {
            form.resize(2 * entries.len(), 0);
        }
        for form in view(&slots[start..start + size]) {
            let secret = |at: &usize| is_secret(k, d, entries[*at]);
            let first = (0..form.len()).map(|at| if secret(&at) { form[at] } else { 0 });
            let second = (0..form.len()).map(|at| if secret(&at) { 0 } else { form[at] });
            both.push(first.chain(second).collect());
        }
        let mut secret = secret_forms(k, d);
        for form in &mut secret {
            form.resize(2 * entries.len(), 0);
        }
        prop_assert_eq!(leak(&both, &secret), 0);
    }

    /// A degraded repair (spec §8) with a corrupt newcomer and k - 2 corrupt helpers: their shares, and
    /// what the two honest helpers send under a pad that is a fresh unknown.
    #[test]
    fn a_degraded_repair_tells_no_more_than_the_restored_share(
        k in 2u8..10,
        order in Just((1u8..=20).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let d = k + 1;
        let parameters = KeyParameters::new(20, k, d).unwrap();
        let binding = Binding { parameters, salt: &[0; 32], epoch: Epoch(0), coverage: None };
        let slots: Vec<Slot> = order.iter().filter_map(|&point| Slot::new(point)).collect();
        let (failed, helpers) = (slots[0], &slots[1..=usize::from(k)]);
        let (honest, corrupt) = helpers.split_at(2);
        let set: BTreeSet<Slot> = helpers.iter().copied().collect();
        let corrupt: Vec<Slot> = corrupt.iter().copied().chain([failed]).collect();
        let mut view = forms(k, d, |message| shares_of(message, &corrupt));
        let known = rank(&view);
        let mut sent = forms(k, d, |message| {
            let no_pad = |_| Symbol::zero();
            let part = |&slot: &Slot| {
                message.share(slot).padded_part(&binding, failed, &set, no_pad)
            };
            honest.iter().map(part).collect()
        });
        let mut secret = secret_forms(k, d);
        view.iter_mut().chain(&mut secret).for_each(|form| form.push(0));
        sent.iter_mut().for_each(|form| form.push(1));
        view.extend(sent);
        prop_assert_eq!(leak(&view, &secret), 0);
        // Their sum is known already: the restored share is among the corrupt ones.
        prop_assert_eq!(rank(&view), known + 1);
    }

    /// The disclosure budget of spec §2: what published pair symbols of honest slots cost.
    #[test]
    fn the_spare_coordinate_covers_one_disclosed_symbol(
        ((n, k, d), slots) in group(),
        pairs in any::<[(Index, Index); 2]>(),
    ) {
        let leaks = |corrupt: usize, disclosed: usize| {
            let honest = &slots[corrupt..];
            let view = forms(k, d, |message| {
                let mut seen = shares_of(message, &slots[..corrupt]);
                for (one, other) in &pairs[..disclosed] {
                    let one = one.index(honest.len());
                    let other = (one + 1 + other.index(honest.len() - 1)) % honest.len();
                    seen.push(message.share(honest[one]).pair_symbol(honest[other]));
                }
                seen
            });
            leak(&view, &secret_forms(k, d))
        };
        let most = usize::from(k) - 1;
        prop_assume!(usize::from(n) >= most + 2);
        prop_assert_eq!(leaks(most, 1), usize::from(d == k));
        prop_assert_eq!(leaks(most - 1, 1 + usize::from(d > k)), 0);
    }
}

/// The elements of the subfield of `order` 4 or 16.
fn subfield(order: usize) -> Vec<u8> {
    (0..=255).filter(|&element| gf::pow(element, order) == element).collect()
}

/// For every possible view, how many messages with each secret show it.
///
/// All messages with entries in the subfield are dealt; points are in the subfield, hence so is
/// everything that is seen.
fn count_views(
    (order, k, d): (usize, u8, u8),
    observe: impl Fn(&dyn Fn(u8) -> Share) -> Vec<Symbol>,
) -> BTreeMap<Vec<u8>, Vec<u32>> {
    let elements = subfield(order);
    assert_eq!(elements.len(), order);
    let entries = entries(k, d);
    let digit = |message: usize, position: usize| message / order.pow(position as u32) % order;
    let secret = entries.iter().position(|&entry| is_secret(k, d, entry)).unwrap();
    let mut views: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    for base in (0..order.pow(entries.len() as u32)).step_by(SECRET_LEN) {
        let message = lanes(k, d, base, |number, position| elements[digit(number, position)]);
        let seen =
            observe(&|point| message.share(Slot::new(elements[usize::from(point)]).unwrap()));
        for lane in 0..SECRET_LEN {
            let view = seen.iter().map(|symbol| symbol.expose()[lane]).collect();
            let counts = views.entry(view).or_insert_with(|| vec![0; order]);
            counts[digit(base + lane, secret)] += 1;
        }
    }
    views
}

/// (order of the subfield, k, d), small enough to deal every message.
const TOYS: [(usize, u8, u8); 4] = [(16, 2, 2), (4, 2, 3), (4, 3, 3), (4, 3, 4)];

#[test]
fn every_view_of_k_minus_1_slots_fits_every_secret_equally_often() {
    for toy in TOYS {
        let views = count_views(toy, |share| {
            (1..toy.1).flat_map(|point| share(point).columns().to_vec()).collect()
        });
        let messages: u32 = views.values().flatten().sum();
        let each = messages / (views.len() * toy.0) as u32;
        assert!(each > 0 && views.values().flatten().all(|&count| count == each), "{toy:?}");
    }
}

#[test]
fn every_view_of_k_slots_fits_one_secret() {
    for toy in TOYS {
        let views = count_views(toy, |share| {
            (1..=toy.1).flat_map(|point| share(point).columns().to_vec()).collect()
        });
        assert!(
            views.values().all(|counts| counts.iter().filter(|&&count| count > 0).count() == 1),
            "{toy:?}"
        );
    }
}

#[test]
fn one_disclosed_symbol_leaves_every_secret_equally_likely_if_d_is_k_plus_1() {
    let views = count_views((4, 2, 3), |share| {
        let mut seen = share(1).columns().to_vec();
        seen.push(share(2).pair_symbol(Slot::new(subfield(4)[3]).unwrap()));
        seen
    });
    assert!(views.values().flatten().all(|&count| count == 1));
    assert_eq!(views.len(), 4usize.pow(4));
}

proptest! {
    /// Over the whole field, V moves freely while any k - 1 shares stay: the bijection of the proof.
    #[test]
    fn a_secret_can_be_exchanged_under_k_minus_1_shares(
        k in 2u8..9,
        spare in any::<bool>(),
        slots in subsequence((1u8..=255).collect::<Vec<_>>(), 8),
        exchange in any::<[u8; SECRET_LEN]>(),
    ) {
        let (d, corrupt) = (k + u8::from(spare), &slots[..usize::from(k) - 1]);
        // p(x) = product of (x - x_i), and Q = p(x) p(y) (w_0 + w (x + y)).
        let mut p = vec![1];
        for &point in corrupt {
            let mut next: Vec<u8> = p.iter().map(|&c| gf::mul(c, point)).collect();
            next.push(0);
            next[1..].iter_mut().zip(&p).for_each(|(sum, &c)| *sum ^= c);
            p = next;
        }
        let at = |index: u8| p.get(usize::from(index)).copied().unwrap_or(0);
        let before = |index: u8| if index == 0 { 0 } else { at(index - 1) };
        let factor = |a: u8, b: u8| if spare {
            gf::mul(before(a), at(b)) ^ gf::mul(at(a), before(b))
        } else {
            gf::mul(at(a), at(b))
        };
        let scale = gf::inv(factor(0, if spare { k } else { 0 }));
        let change = Message::fill(k, d, |a, b| {
            Symbol::from(exchange.map(|byte| gf::mul(gf::mul(byte, scale), factor(a, b))))
        });
        for &point in corrupt {
            prop_assert!(change.share(Slot::new(point).unwrap()).columns().iter().all(Symbol::is_zero));
        }
        let mut change = change;
        let secret = &change.columns_mut()[if spare { usize::from(k) } else { 0 }][0];
        prop_assert_eq!(secret.expose(), &exchange);
    }
}
