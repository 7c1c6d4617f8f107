//! Tells what happens to the jobs of one seed: `cargo run -p shoal-simulator --example jobs -- 17`.
#![allow(missing_docs)]

fn main() {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    println!("{:?}", shoal_simulator::jobs::replay(seed, &mut |line| println!("{line}")));
}
