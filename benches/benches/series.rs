//! Criterion series of every contest: `cargo bench -p kakera-benches -- code/encode`.
//!
//! A group is a contest, named `module/operation/parameters`; a function in it is a side.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kakera_benches::contest::{Contest, Side};
use kakera_benches::contests;

fn series(criterion: &mut Criterion) {
    for Contest { name, mut ours, mut peers } in contests() {
        let mut group = criterion.benchmark_group(name);
        let sides = peers.iter_mut().map(|peer| &mut peer.side);
        for side in std::iter::once(&mut ours).chain(sides) {
            let Side { name, bytes, .. } = *side;
            if let Some(bytes) = bytes {
                group.throughput(Throughput::BytesDecimal(bytes));
            }
            group.bench_function(name, |bencher| bencher.iter(|| side.run()));
        }
        group.finish();
    }
}

criterion_group!(all, series);
criterion_main!(all);
