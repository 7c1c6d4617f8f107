//! Flattens eight-dimensional coordinates onto the page, with as little distortion as a plane
//! allows.
//!
//! Principal component analysis: the plane through the points' mean along the two directions of
//! greatest variance. The directions are eigenvectors of the covariance matrix, found by Jacobi's
//! rotations, which are exact enough for a small symmetric matrix. A plane has no top and no left,
//! so it is turned to look like a map: a chosen first group on the left, the last on the right, the
//! middle one above.
//!
//! Heights (access links) have no direction and are left out.

use std::f64::consts::FRAC_PI_4;

/// Sweeps of Jacobi's method; eight dimensions need fewer than ten.
const SWEEP_COUNT_MAX: usize = 32;

/// A plane in the coordinate space.
#[derive(Clone, Debug)]
pub struct Projection {
    mean: Vec<f64>,
    axes: [Vec<f64>; 2],
    /// The share of the points' variance that the plane shows; 0 to 1.
    pub explained: f64,
}

impl Projection {
    /// The plane that shows these points best. `points` must not be empty and all of one dimension,
    /// at least two.
    pub fn fit(points: &[&[f64]]) -> Projection {
        let dimensions = points[0].len();
        let count = points.len() as f64;
        let mean: Vec<f64> =
            (0..dimensions).map(|d| points.iter().map(|p| p[d]).sum::<f64>() / count).collect();
        let covariance = |a: usize, b: usize| {
            points.iter().map(|p| (p[a] - mean[a]) * (p[b] - mean[b])).sum::<f64>() / count
        };
        let matrix =
            (0..dimensions).map(|a| (0..dimensions).map(|b| covariance(a, b)).collect()).collect();
        let (values, vectors) = eigen(matrix);
        let mut order: Vec<usize> = (0..dimensions).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        let axes = [vectors[order[0]].clone(), vectors[order[1]].clone()];
        let total = values.iter().sum::<f64>();
        let shown = values[order[0]] + values[order[1]];
        let explained = if total > 0.0 { (shown / total).clamp(0.0, 1.0) } else { 1.0 };
        Projection { mean, axes, explained }
    }

    /// Where a point lies on the plane.
    pub fn project(&self, point: &[f64]) -> [f64; 2] {
        let along = |axis: &Vec<f64>| {
            point.iter().zip(&self.mean).zip(axis).map(|((p, m), a)| (p - m) * a).sum()
        };
        [along(&self.axes[0]), along(&self.axes[1])]
    }

    /// Turns and mirrors the plane so that `right` lies level to the right of `left`, and `above`
    /// not below them (the second coordinate grows upwards).
    pub fn orient(&mut self, left: &[f64], right: &[f64], above: &[f64]) {
        let (from, to) = (self.project(left), self.project(right));
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx.hypot(dy);
        if length > 0.0 {
            let (cosine, sine) = (dx / length, dy / length);
            let [first, second] = &self.axes;
            let turned =
                |a: f64, b: f64| first.iter().zip(second).map(|(x, y)| a * x + b * y).collect();
            self.axes = [turned(cosine, sine), turned(-sine, cosine)];
        }
        if self.project(above)[1] < self.project(left)[1] {
            self.axes[1].iter_mut().for_each(|component| *component = -*component);
        }
    }
}

/// Eigenvalues and eigenvectors of a symmetric matrix, in no particular order.
fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = matrix.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|a| (0..size).map(|b| f64::from(u8::from(a == b))).collect()).collect();
    for _ in 0..SWEEP_COUNT_MAX {
        for p in 0..size {
            for q in p + 1..size {
                if matrix[p][q] == 0.0 {
                    continue;
                }
                let difference = matrix[q][q] - matrix[p][p];
                let angle = if difference == 0.0 {
                    FRAC_PI_4
                } else {
                    0.5 * (2.0 * matrix[p][q] / difference).atan()
                };
                let (sine, cosine) = angle.sin_cos();
                for row in &mut matrix {
                    let (kp, kq) = (row[p], row[q]);
                    row[p] = cosine * kp - sine * kq;
                    row[q] = sine * kp + cosine * kq;
                }
                for k in 0..size {
                    let (pk, qk) = (matrix[p][k], matrix[q][k]);
                    matrix[p][k] = cosine * pk - sine * qk;
                    matrix[q][k] = sine * pk + cosine * qk;
                    let (vp, vq) = (vectors[p][k], vectors[q][k]);
                    vectors[p][k] = cosine * vp - sine * vq;
                    vectors[q][k] = sine * vp + cosine * vq;
                }
            }
        }
    }
    ((0..size).map(|index| matrix[index][index]).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of a tilted plane in eight dimensions.
    fn tilted() -> Vec<Vec<f64>> {
        let u = [0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0];
        let v = [0.5, -0.5, 0.5, -0.5, 0.0, 0.0, 0.0, 0.0];
        let places = [(0.0, 0.0), (100.0, 0.0), (40.0, 60.0), (20.0, 10.0)];
        places.map(|(a, b)| (0..8).map(|d| 7.0 + a * u[d] + b * v[d]).collect()).to_vec()
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn a_plane_is_shown_without_distortion() {
        let points = tilted();
        let borrowed: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let projection = Projection::fit(&borrowed);
        assert!(projection.explained > 0.999_999, "{}", projection.explained);
        for a in &points {
            for b in &points {
                let flat = distance(&projection.project(a), &projection.project(b));
                assert!((flat - distance(a, b)).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_map_has_its_left_right_and_top() {
        let points = tilted();
        let borrowed: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let mut projection = Projection::fit(&borrowed);
        for (left, right, above) in [(0, 1, 2), (1, 0, 2), (2, 1, 0)] {
            projection.orient(&points[left], &points[right], &points[above]);
            let [left, right, above] =
                [left, right, above].map(|index| projection.project(&points[index]));
            assert!((left[1] - right[1]).abs() < 1e-9 && left[0] < right[0]);
            assert!(above[1] > left[1]);
        }
    }

    #[test]
    fn equal_points_do_not_break_it() {
        let point = [1.0; 8];
        let mut projection = Projection::fit(&[&point, &point]);
        projection.orient(&point, &point, &point);
        assert_eq!(projection.project(&point), [0.0, 0.0]);
    }
}
