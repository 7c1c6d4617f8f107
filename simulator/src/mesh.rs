//! Who is on good terms with whom, as bits: whether a cluster is whole is a count that is always at
//! hand.

/// A relation between nodes that every pair should be in.
#[derive(Debug)]
pub(crate) struct Mesh {
    bits: Vec<u64>,
    words: usize,
    nodes: u32,
    count: u64,
}

impl Mesh {
    /// A mesh of so many nodes in which nobody knows anybody.
    pub fn new(nodes: u32) -> Mesh {
        let words = nodes.div_ceil(u64::BITS) as usize;
        Mesh { bits: vec![0; words * nodes as usize], words, nodes, count: 0 }
    }

    /// Notes whether `observer` is in the relation to `subject`. Subjects that are no nodes do not
    /// count.
    pub fn note(&mut self, observer: u32, subject: u32, holds: bool) {
        if subject >= self.nodes {
            return;
        }
        let word = observer as usize * self.words + (subject / u64::BITS) as usize;
        let bit = 1 << (subject % u64::BITS);
        let held = self.bits[word] & bit != 0;
        if holds && !held {
            self.bits[word] |= bit;
            self.count += 1;
        } else if !holds && held {
            self.bits[word] &= !bit;
            self.count -= 1;
        }
    }

    /// Whether it holds between all pairs.
    pub fn is_whole(&self) -> bool {
        self.count == u64::from(self.nodes) * (u64::from(self.nodes) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_when_everybody_knows_everybody() {
        let mut mesh = Mesh::new(70);
        for observer in 0..70 {
            for subject in (0..70).filter(|&subject| subject != observer) {
                assert!(!mesh.is_whole());
                mesh.note(observer, subject, true);
                mesh.note(observer, subject, true);
            }
        }
        assert!(mesh.is_whole());
        mesh.note(3, 1_000, true);
        mesh.note(69, 1, false);
        assert!(!mesh.is_whole());
    }
}
