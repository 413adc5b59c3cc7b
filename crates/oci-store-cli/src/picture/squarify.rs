//! A treemap's places: rectangles whose areas are as their weights, as near to squares as can be had (Bruls, Huizing and
//! van Wijk, *Squarified Treemaps*).

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    /// The same without a margin; never less than nothing.
    pub(super) fn inset(self, margin: f64) -> Self {
        let less = |length: f64| (length - 2.0 * margin).max(0.0);
        let Self { x, y, width, height } = self;
        Self { x: x + margin, y: y + margin, width: less(width), height: less(height) }
    }
}

/// A place in `room` for each of the `weights`, which come in descending order; together they fill it. What weighs nothing
/// gets a place without area.
pub(super) fn squarify(weights: &[u64], room: Rect) -> Vec<Rect> {
    let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
    let scale = if total > 0.0 { room.width * room.height / total } else { 0.0 };
    let areas: Vec<f64> = weights.iter().map(|weight| *weight as f64 * scale).collect();
    let mut places = Vec::with_capacity(areas.len());
    let (mut rest, mut left) = (areas.as_slice(), room);
    while !rest.is_empty() {
        let side = left.width.min(left.height);
        let mut row = 1;
        let mut worst = worst_ratio(rest.get(..row).unwrap_or_default(), side);
        // The row takes as many as make it no worse.
        while let Some(longer) = rest.get(..=row) {
            let ratio = worst_ratio(longer, side);
            if ratio > worst {
                break;
            }
            (row, worst) = (row + 1, ratio);
        }
        let (here, behind) = rest.split_at(row.min(rest.len()));
        left = lay(here, left, &mut places);
        rest = behind;
    }
    places
}

/// How far from a square the worst of a row along `side` is.
fn worst_ratio(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let (largest, smallest) = (row.first().copied().unwrap_or_default(), row.last().copied().unwrap_or_default());
    if smallest <= 0.0 || sum <= 0.0 {
        return f64::INFINITY;
    }
    let (side, sum) = (side * side, sum * sum);
    (side * largest / sum).max(sum / (side * smallest))
}

/// Places a row along the shorter side; returns what is left of the room.
fn lay(row: &[f64], room: Rect, places: &mut Vec<Rect>) -> Rect {
    let sum: f64 = row.iter().sum();
    let is_wide = room.width >= room.height;
    let side = if is_wide { room.height } else { room.width };
    let depth = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if depth > 0.0 { area / depth } else { 0.0 };
        places.push(match is_wide {
            true => Rect { x: room.x, y: room.y + at, width: depth, height: length },
            false => Rect { x: room.x + at, y: room.y, width: length, height: depth },
        });
        at += length;
    }
    match is_wide {
        true => Rect { x: room.x + depth, width: (room.width - depth).max(0.0), ..room },
        false => Rect { y: room.y + depth, height: (room.height - depth).max(0.0), ..room },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Rect = Rect { x: 10.0, y: 20.0, width: 600.0, height: 400.0 };

    fn area(rect: &Rect) -> f64 {
        rect.width * rect.height
    }

    #[test]
    fn places_are_as_the_paper_has_them() {
        let room = Rect { x: 0.0, y: 0.0, width: 6.0, height: 4.0 };
        let places = squarify(&[6, 6, 4, 3, 2, 2, 1], room);
        let wanted = [(0.0, 0.0, 3.0, 2.0), (0.0, 2.0, 3.0, 2.0), (3.0, 0.0, 12.0 / 7.0, 7.0 / 3.0)];
        for (place, (x, y, width, height)) in places.iter().zip(wanted) {
            for (a, b) in [(place.x, x), (place.y, y), (place.width, width), (place.height, height)] {
                assert!((a - b).abs() < 1e-9, "{place:?}");
            }
        }
    }

    #[test]
    fn places_have_the_areas_of_their_weights_and_fill_the_room() {
        for weights in [vec![1], vec![5, 5], vec![1000, 1, 1, 1], (1..300).rev().collect(), vec![u64::MAX, 1 << 40, 7]]
        {
            let places = squarify(&weights, ROOM);
            assert_eq!(places.len(), weights.len());
            let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
            for (place, weight) in places.iter().zip(&weights) {
                let wanted = *weight as f64 / total * area(&ROOM);
                assert!((area(place) - wanted).abs() < 1e-6 * area(&ROOM), "{place:?}: {wanted}");
                assert!(place.x >= ROOM.x - 1e-6 && place.x + place.width <= ROOM.x + ROOM.width + 1e-6);
                assert!(place.y >= ROOM.y - 1e-6 && place.y + place.height <= ROOM.y + ROOM.height + 1e-6);
            }
            for (at, a) in places.iter().enumerate() {
                for b in &places[at + 1..] {
                    let beside = a.x + a.width <= b.x + 1e-6 || b.x + b.width <= a.x + 1e-6;
                    let below = a.y + a.height <= b.y + 1e-6 || b.y + b.height <= a.y + 1e-6;
                    assert!(beside || below, "{a:?} lies on {b:?}");
                }
            }
        }
    }

    #[test]
    fn equal_weights_are_nearly_squares() {
        for place in squarify(&[1; 24], ROOM) {
            assert!((place.width / place.height).max(place.height / place.width) < 1.6, "{place:?}");
        }
    }

    #[test]
    fn what_weighs_nothing_has_no_area_and_does_no_harm() {
        assert_eq!(squarify(&[], ROOM), []);
        for weights in [vec![0], vec![0, 0], vec![3, 0, 0]] {
            let places = squarify(&weights, ROOM);
            assert_eq!(places.len(), weights.len());
            assert!(places.iter().all(|place| place.width.is_finite() && place.height.is_finite()));
            assert!(weights.iter().zip(&places).all(|(weight, place)| *weight > 0 || area(place) == 0.0));
        }
        let flat = Rect { height: 0.0, ..ROOM };
        assert!(squarify(&[2, 1], flat).iter().all(|place| area(place) == 0.0 && place.x.is_finite()));
    }
}
