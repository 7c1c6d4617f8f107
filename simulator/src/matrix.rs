//! Who is how far from whom: a matrix of round trips, read from a file or generated.
//!
//! A file is CSV: the first row holds the node names, then come as many rows of as many
//! milliseconds. An empty field is an unknown round trip; the diagonal is ignored. [`World`]
//! generates matrices for use without data files: cities on a sphere, hosts in them behind access
//! links, and paths that are longer than the straight line by a factor of their own, which is what
//! makes real networks hard to embed.

use shoal_core::random::Random;
use std::path::Path;

/// The most nodes that a matrix may have.
pub const NODE_COUNT_MAX: usize = 4_096;
/// The longest round trip that a matrix may hold, in milliseconds.
pub const ROUND_TRIP_MS_MAX: f64 = 10_000.0;

/// Round trips between named nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    names: Vec<String>,
    /// Row by row; NaN where unknown.
    round_trips_ms: Vec<f64>,
}

/// Why a matrix cannot be used. Lines and columns count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no node, or only one.
    #[error("a matrix needs at least two nodes: the first row holds their names")]
    Empty,
    /// There are more nodes than are worth simulating.
    #[error("{count} nodes, at most {NODE_COUNT_MAX} can be simulated")]
    TooLarge {
        /// Nodes in the first row.
        count: usize,
    },
    /// A row is shorter or longer than the first.
    #[error("line {line} has {fields} fields, the first row names {count} nodes")]
    Ragged {
        /// Where.
        line: usize,
        /// How many fields it has.
        fields: usize,
        /// How many it should have.
        count: usize,
    },
    /// There are fewer or more rows than columns.
    #[error("{rows} rows of round trips for {count} nodes, expected one each")]
    RowCount {
        /// Rows that follow the first.
        rows: usize,
        /// Nodes in the first row.
        count: usize,
    },
    /// A field is no round trip.
    #[error(
        "line {line}, column {column}: `{field}` is no round trip in milliseconds, expected a \
         number above 0 and up to 10000, or nothing where it is unknown"
    )]
    Field {
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
        /// What is written there, shortened.
        field: String,
    },
    /// A node that nothing is known about could not be placed.
    #[error("line {line}: no round trip from node `{name}` to any other is known; remove the node")]
    Isolated {
        /// Where.
        line: usize,
        /// Its name.
        name: String,
    },
}

impl Matrix {
    /// Reads a matrix from a CSV file.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn read(path: impl AsRef<Path>) -> Result<Matrix, MatrixError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| MatrixError::Read { path: path.display().to_string(), source })?;
        Matrix::parse(&text)
    }

    /// Reads a matrix from CSV text.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Matrix, MatrixError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, header) = lines.next().ok_or(MatrixError::Empty)?;
        let names: Vec<String> = header.split(',').map(|name| name.trim().to_owned()).collect();
        let count = names.len();
        if count < 2 {
            return Err(MatrixError::Empty);
        }
        if count > NODE_COUNT_MAX {
            return Err(MatrixError::TooLarge { count });
        }
        let mut round_trips_ms = Vec::with_capacity(count * count);
        let mut rows = 0;
        for (index, line) in lines {
            let number = index + 1;
            let fields = line.split(',').count();
            if fields != count {
                return Err(MatrixError::Ragged { line: number, fields, count });
            }
            if rows < count {
                parse_row(line, number, rows, &names, &mut round_trips_ms)?;
            }
            rows += 1;
        }
        if rows != count {
            return Err(MatrixError::RowCount { rows, count });
        }
        Ok(Matrix { names, round_trips_ms })
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.names.len()
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> &str {
        &self.names[node]
    }

    /// The round trip in milliseconds, `None` where it is unknown or the nodes are the same.
    pub fn round_trip_ms(&self, from: usize, to: usize) -> Option<f64> {
        let ms = self.round_trips_ms[from * self.names.len() + to];
        (!ms.is_nan()).then_some(ms)
    }
}

/// Appends one row, checked field by field.
fn parse_row(
    line: &str,
    number: usize,
    row: usize,
    names: &[String],
    round_trips_ms: &mut Vec<f64>,
) -> Result<(), MatrixError> {
    let mut known = 0;
    for (column, field) in line.split(',').enumerate() {
        let field = field.trim();
        if column == row || field.is_empty() {
            round_trips_ms.push(f64::NAN);
            continue;
        }
        match field.parse::<f64>() {
            Ok(ms) if ms > 0.0 && ms <= ROUND_TRIP_MS_MAX => round_trips_ms.push(ms),
            _ => {
                let field = field.chars().take(24).collect();
                return Err(MatrixError::Field { line: number, column: column + 1, field });
            }
        }
        known += 1;
    }
    if known == 0 {
        return Err(MatrixError::Isolated { line: number, name: names[row].clone() });
    }
    Ok(())
}

/// A network that never was, but could be.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Hosts; 2 to [`NODE_COUNT_MAX`].
    pub node_count: usize,
    /// Cities that they are in; 1 to `node_count`.
    pub city_count: usize,
    /// The longest access link, in ms of round trip; most are much shorter.
    pub access_ms_max: f64,
    /// How much longer than the straight line a path is at most, as a share of it; 0 to 10.
    pub detour_max: f64,
    /// Decides everything else.
    pub seed: u64,
}

impl Default for World {
    fn default() -> World {
        World { node_count: 100, city_count: 20, access_ms_max: 8.0, detour_max: 0.4, seed: 1 }
    }
}

/// Light needs this long in fibre around half of the Earth and back, in ms.
const ANTIPODE_MS: f64 = 200.0;
/// The shortest round trip, in ms: two hosts on one switch.
const ROUND_TRIP_MS_MIN: f64 = 0.1;

impl World {
    /// The round trips of this world.
    ///
    /// # Panics
    /// When a count is out of its range.
    pub fn matrix(&self) -> Matrix {
        let count = self.node_count;
        assert!((2..=NODE_COUNT_MAX).contains(&count), "2 to 4096 nodes");
        assert!((1..=count).contains(&self.city_count), "at least one city, at most one per node");
        let mut random = Random::new(self.seed);
        let cities: Vec<[f64; 3]> = (0..self.city_count).map(|_| on_sphere(&mut random)).collect();
        let hosts: Vec<Host> = (0..count)
            .map(|index| Host {
                city: index % self.city_count,
                // Cubed: one host in eight sits behind more than a third of the longest link.
                access_ms: 0.05 + self.access_ms_max * random.unit().powi(3),
            })
            .collect();
        // Between two cities all packets take the same detour.
        let detours: Vec<f64> =
            (0..self.city_count.pow(2)).map(|_| 1.0 + self.detour_max * random.unit()).collect();

        let mut round_trips_ms = vec![f64::NAN; count * count];
        for from in 0..count {
            for to in 0..from {
                let (left, right) = (&hosts[from], &hosts[to]);
                let (low, high) = (left.city.min(right.city), left.city.max(right.city));
                let path_ms = arc(&cities[low], &cities[high]) / std::f64::consts::PI * ANTIPODE_MS;
                let path_ms = path_ms * detours[low * self.city_count + high];
                // A few per cent that belong to the pair alone.
                let own = 1.0 + 0.05 * random.unit();
                let ms = (path_ms + left.access_ms + right.access_ms) * own;
                round_trips_ms[from * count + to] = ms.max(ROUND_TRIP_MS_MIN);
                round_trips_ms[to * count + from] = ms.max(ROUND_TRIP_MS_MIN);
            }
        }
        let names = (0..count).map(|node| format!("host{node}")).collect();
        Matrix { names, round_trips_ms }
    }
}

struct Host {
    city: usize,
    access_ms: f64,
}

/// A point of the unit sphere, all equally likely.
fn on_sphere(random: &mut Random) -> [f64; 3] {
    loop {
        let point: [f64; 3] = std::array::from_fn(|_| 2.0 * random.unit() - 1.0);
        let length = point.iter().map(|part| part * part).sum::<f64>().sqrt();
        if (0.1..=1.0).contains(&length) {
            return point.map(|part| part / length);
        }
    }
}

/// The angle between two points of the unit sphere.
fn arc(left: &[f64; 3], right: &[f64; 3]) -> f64 {
    let dot: f64 = left.iter().zip(right).map(|(left, right)| left * right).sum();
    dot.clamp(-1.0, 1.0).acos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Matrix::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_names_round_trips_and_holes() {
        let matrix = Matrix::parse("a, b ,c\n0,1.5,\n1.5,,3\r\n2,3,0\n").unwrap();
        assert_eq!(matrix.node_count(), 3);
        assert_eq!(matrix.name(1), "b");
        assert_eq!(matrix.round_trip_ms(0, 1), Some(1.5));
        assert_eq!(matrix.round_trip_ms(0, 2), None);
        assert_eq!(matrix.round_trip_ms(2, 0), Some(2.0));
        assert_eq!(matrix.round_trip_ms(1, 1), None);
    }

    #[test]
    fn says_in_one_line_what_is_wrong_and_where() {
        let needs_two = "a matrix needs at least two nodes: the first row holds their names";
        assert_eq!(message(""), needs_two);
        assert_eq!(message("a\n0\n"), needs_two);
        assert_eq!(message("a,b\n0,1\n1\n"), "line 3 has 1 fields, the first row names 2 nodes");
        assert_eq!(message("a,b\n0,1\n"), "1 rows of round trips for 2 nodes, expected one each");
        assert_eq!(
            message("a,b\n0,1\n1,0\n1,0\n"),
            "3 rows of round trips for 2 nodes, expected one each"
        );
        for field in ["-1", "0", "NaN", "inf", "1e300", "fast"] {
            let text = format!("a,b\n0,{field}\n1,0\n");
            let expected = format!("line 2, column 2: `{field}` is no round trip in milliseconds");
            assert!(message(&text).starts_with(&expected), "{}", message(&text));
        }
        assert!(message("a,b\n0,\n1,0\n").starts_with("line 2: no round trip from node `a`"));
        let many = vec!["n"; NODE_COUNT_MAX + 1].join(",");
        assert_eq!(message(&many), "4097 nodes, at most 4096 can be simulated");
        let missing = Matrix::read("/nonexistent/matrix.csv").unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nonexistent/matrix.csv: "), "{missing}");
    }

    #[test]
    fn worlds_are_symmetric_complete_and_decided_by_their_seed() {
        let world = World::default();
        let matrix = world.matrix();
        assert_eq!(matrix.round_trips_ms.len(), 10_000);
        for from in 0..100 {
            for to in (0..100).filter(|&to| to != from) {
                let ms = matrix.round_trip_ms(from, to).unwrap();
                assert!((ROUND_TRIP_MS_MIN..500.0).contains(&ms), "{ms}");
                assert_eq!(matrix.round_trip_ms(to, from), Some(ms));
            }
        }
        let bits = |matrix: &Matrix| -> Vec<u64> {
            matrix.round_trips_ms.iter().map(|ms| ms.to_bits()).collect()
        };
        assert_eq!(bits(&world.matrix()), bits(&matrix));
        assert_ne!(bits(&World { seed: 2, ..world }.matrix()), bits(&matrix));
    }
}
