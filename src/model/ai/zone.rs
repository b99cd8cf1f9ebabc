//! What detections mean in a camera's zones: who enters, leaves or stays in a region, who crosses a line, and which way.
//!
//! A detection stands where its box meets the ground, at the middle of its lower edge. A region is entered, and left, when a
//! track was seen there so many times in a row (`confirm`), so that a box that trembles at the edge tells nothing twice.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    base::{CameraId, WallUs},
    model::{
        Profile,
        camera::{BadField, text, words},
        event,
    },
};

/// A track that is not seen for so long is forgotten, in microseconds.
pub const FORGOTTEN_US: i64 = 120_000_000;
/// Corners that a region may have.
pub const CORNERS: std::ops::RangeInclusive<usize> = 3..=64;
/// Longest `dwell_seconds`: a day.
pub const DWELL_MAX: u32 = 86_400;
/// Most `confirm_frames`.
pub const CONFIRM_MAX: u32 = 100;
/// Most labels of a zone.
pub const LABELS_MAX: usize = 64;
/// Most zones of a camera.
pub const ZONES_MAX: u32 = 64;
/// The lowest that anybody stands.
const EDGE: f64 = 1.0 - 1e-6;
/// Between looks for those that are gone, in microseconds.
const SWEEP_US: i64 = 1_000_000;
/// So many tracks are followed in a zone; the one seen least lately is forgotten for another.
const TRACKS_MAX: usize = 1_000;

/// A place in the picture: 0,0 is its upper left corner and 1,1 its lower right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Down.
    pub y: f64,
}

/// A box in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Its upper left corner.
    pub at: Point,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

impl Area {
    /// Whether it lies in the picture.
    pub fn is_inside(self) -> bool {
        let Self { at, width, height } = self;
        let whole = |from: f64, length: f64| from >= 0.0 && length > 0.0 && from + length <= 1.0 + 1e-6;
        whole(at.x, width) && whole(at.y, height)
    }

    /// Where it meets the ground. Whoever is cut off by the lower edge of the picture stands just within it: a region that
    /// reaches down to the edge holds them.
    pub fn ground(self) -> Point {
        Point { x: self.at.x + self.width / 2.0, y: (self.at.y + self.height).min(EDGE) }
    }
}

/// Which kinds of zones there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneKind {
    /// A polygon that is entered and left.
    Region,
    /// A line that is crossed.
    Line,
}

words!(ZoneKind { Region = "region", Line = "line" });

/// What a zone is.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A polygon.
    Region(Vec<Point>),
    /// From one point to another: crossed from its left to its right, looking along it, is `forward`.
    Line(Point, Point),
}

impl Shape {
    /// The shape of this kind with these points; their number is part of what [`NewZone::check`] looks at, but for a line's.
    pub fn new(kind: ZoneKind, points: Vec<Point>) -> Result<Self, BadField> {
        match (kind, &points[..]) {
            (ZoneKind::Region, _) => Ok(Self::Region(points)),
            (ZoneKind::Line, [from, to]) => Ok(Self::Line(*from, *to)),
            (ZoneKind::Line, _) => Err(BadField::new("points", "are 2 for a line")),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> ZoneKind {
        match self {
            Self::Region(_) => ZoneKind::Region,
            Self::Line(..) => ZoneKind::Line,
        }
    }

    /// Its corners, or its ends.
    pub fn points(&self) -> Vec<Point> {
        match self {
            Self::Region(points) => points.clone(),
            Self::Line(from, to) => vec![*from, *to],
        }
    }
}

/// A zone before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub struct NewZone {
    /// In whose picture.
    pub camera: CameraId,
    /// For people.
    pub name: String,
    /// What it is.
    pub shape: Shape,
    /// What counts; empty: everything.
    pub labels: Vec<String>,
    /// What is less sure does not count.
    pub least_confidence: f64,
    /// So many times in a row.
    pub confirm: u32,
    /// Who stays so many seconds in a region is told of; `None`: nobody is.
    pub dwell_seconds: Option<u32>,
}

/// A zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its id, never used twice.
    pub id: i64,
    /// What it says.
    pub zone: NewZone,
}

/// What was seen in a zone, and where to look at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// The zone.
    pub zone: i64,
    /// What it was called then.
    pub name: String,
    /// Whose detection it was.
    pub task: i64,
    /// The program's name for what it follows.
    pub track: String,
    /// What it is, for the program.
    pub label: String,
    /// How sure the program was.
    pub confidence: f64,
    /// Which way a line was crossed.
    pub direction: Option<Direction>,
    /// The number of the frame.
    pub frame: u64,
    /// Of which stream.
    pub profile: Profile,
    /// The segment that holds the same frame, and how far into it, in microseconds; `None` if it is not recorded.
    pub recorded: Option<(i64, i64)>,
}

impl NewZone {
    /// Whether it can be one. A polygon that crosses itself is refused: what is inside it nobody could say.
    pub fn check(&self) -> Result<(), BadField> {
        text("name", &self.name)?;
        if self.name.trim().is_empty() {
            return Err(BadField::new("name", "is empty; say where it is, such as `gate`"));
        }
        if self.labels.len() > LABELS_MAX {
            return Err(BadField::new("labels", format!("are more than {LABELS_MAX}")));
        }
        self.labels.iter().try_for_each(|label| text("labels", label))?;
        if self.dwell_seconds.is_some_and(|seconds| !(1..=DWELL_MAX).contains(&seconds)) {
            return Err(BadField::new("dwell_seconds", format!("is 1 to {DWELL_MAX}")));
        }
        if self.dwell_seconds.is_some() && self.shape.kind() == ZoneKind::Line {
            return Err(BadField::new("dwell_seconds", "is for a region; nobody stays in a line"));
        }
        let inside = |point: &Point| (0.0..=1.0).contains(&point.x) && (0.0..=1.0).contains(&point.y);
        let bad = |message: &str| Err(BadField::new("points", message));
        match &self.shape {
            Shape::Region(points) => {
                if !CORNERS.contains(&points.len()) {
                    return bad("are 3 to 64 for a region");
                }
                if !points.iter().all(inside) {
                    return bad("lie between 0 and 1");
                }
                if crosses_itself(points) {
                    return bad(
                        "make a polygon that crosses itself; draw it so that no two of its edges meet",
                    );
                }
            }
            Shape::Line(from, to) => {
                if !inside(from) || !inside(to) {
                    return bad("lie between 0 and 1");
                }
                if from == to {
                    return bad("are the same; a line needs two");
                }
            }
        }
        if !(0.0..=1.0).contains(&self.least_confidence) {
            return Err(BadField::new("min_confidence", "is 0 to 1"));
        }
        if !(1..=CONFIRM_MAX).contains(&self.confirm) {
            return Err(BadField::new("confirm_frames", format!("is 1 to {CONFIRM_MAX}")));
        }
        Ok(())
    }

    /// Whether such a detection counts.
    pub fn counts(&self, label: &str, confidence: f64) -> bool {
        confidence >= self.least_confidence
            && (self.labels.is_empty() || self.labels.iter().any(|of| of == label))
    }
}

/// What happened in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody came into a region.
    Enter,
    /// And went.
    Exit,
    /// And has stayed for a while; once for each time.
    Dwell,
    /// Somebody crossed a line.
    Cross(Direction),
}

impl Kind {
    /// How the log calls it, and which way it was.
    pub fn event(self) -> (event::Kind, Option<Direction>) {
        match self {
            Self::Enter => (event::Kind::ZoneEnter, None),
            Self::Exit => (event::Kind::ZoneExit, None),
            Self::Dwell => (event::Kind::ZoneDwell, None),
            Self::Cross(direction) => (event::Kind::LineCross, Some(direction)),
        }
    }
}

/// Which way a line was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From its left to its right, looking from its first point to its second.
    Forward,
    /// From its right to its left.
    Backward,
}

words!(Direction { Forward = "forward", Backward = "backward" });

/// What a zone knows of a track.
#[derive(Clone, Copy, Debug)]
struct Track {
    seen: WallUs,
    at: Point,
    /// In the region since then.
    inside: Option<WallUs>,
    dwelt: bool,
    /// Looks in a row that contradict `inside`.
    contrary: u32,
    /// On which side of the line it was for sure.
    side: Option<Direction>,
    /// Looks in a row on the other side, and where it was when it came there.
    other: Option<(u32, Point)>,
}

/// What one zone knows of those that are in the picture.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    tracks: HashMap<String, Track>,
    /// When those that are gone were forgotten last.
    swept: WallUs,
}

impl Watch {
    /// A track was seen. What that means, in order; at most one thing of each kind. A look that is no later than the last at
    /// this track tells nothing.
    pub fn seen(&mut self, zone: &NewZone, track: &str, at: Point, now: WallUs) -> Vec<Kind> {
        let gone = |known: &Track| now.0 - known.seen.0 >= FORGOTTEN_US;
        // All are looked through once a second, for there may be many looks in one frame.
        if (now.0 - self.swept.0).abs() >= SWEEP_US {
            self.swept = now;
            self.tracks.retain(|_, track| !gone(track));
        }
        match self.tracks.get(track) {
            Some(known) if gone(known) => drop(self.tracks.remove(track)),
            Some(known) if now <= known.seen => return Vec::new(),
            _ => {}
        }
        if !self.tracks.contains_key(track) && self.tracks.len() >= TRACKS_MAX {
            let oldest = self.tracks.iter().min_by_key(|(_, track)| track.seen).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.tracks.remove(&oldest));
        }
        let fresh = Track { seen: now, at, inside: None, dwelt: false, contrary: 0, side: None, other: None };
        let known = self.tracks.entry(track.to_owned()).or_insert(fresh);
        let told = match &zone.shape {
            Shape::Region(points) => known.in_region(zone, contains(points, at), now),
            Shape::Line(from, to) => known.at_line(zone, *from, *to, at),
        };
        (known.seen, known.at) = (now, at);
        told
    }
}

impl Track {
    fn in_region(&mut self, zone: &NewZone, is_inside: bool, now: WallUs) -> Vec<Kind> {
        let mut told = Vec::new();
        if is_inside == self.inside.is_some() {
            self.contrary = 0;
        } else {
            self.contrary += 1;
            if self.contrary >= zone.confirm {
                self.contrary = 0;
                self.dwelt = false;
                self.inside = is_inside.then_some(now);
                told.push(if is_inside { Kind::Enter } else { Kind::Exit });
            }
        }
        if let (Some(since), Some(dwell), false) = (self.inside, zone.dwell_seconds, self.dwelt)
            && now.0 - since.0 >= i64::from(dwell) * 1_000_000
        {
            self.dwelt = true;
            told.push(Kind::Dwell);
        }
        told
    }

    fn at_line(&mut self, zone: &NewZone, from: Point, to: Point, at: Point) -> Vec<Kind> {
        let Some(side) = side(from, to, at) else { return Vec::new() };
        match self.side {
            None => self.side = Some(side),
            Some(before) if before == side => self.other = None,
            Some(_) => {
                // It crossed between the last look on the old side and the first on the new.
                let (looks, came_from) = self.other.map_or((1, self.at), |(looks, from)| (looks + 1, from));
                self.other = Some((looks, came_from));
                if looks >= zone.confirm {
                    self.side = Some(side);
                    self.other = None;
                    if meet(from, to, came_from, at) {
                        return vec![Kind::Cross(side)];
                    }
                }
            }
        }
        Vec::new()
    }
}

/// On which side of a line a point lies: who is there has come that way. `None` on the line itself.
fn side(from: Point, to: Point, at: Point) -> Option<Direction> {
    let turn = turn(from, to, at);
    if turn.abs() < 1e-12 {
        None
    } else if turn > 0.0 {
        // The picture's y goes down, so this is to the right.
        Some(Direction::Forward)
    } else {
        Some(Direction::Backward)
    }
}

fn turn(a: Point, b: Point, c: Point) -> f64 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

/// Whether two stretches meet.
fn meet(a: Point, b: Point, c: Point, d: Point) -> bool {
    let opposite = |one: f64, other: f64| (one <= 0.0 && other >= 0.0) || (one >= 0.0 && other <= 0.0);
    let apart = |p: f64, q: f64, r: f64, s: f64| p.max(q) < r.min(s) || r.max(s) < p.min(q);
    opposite(turn(a, b, c), turn(a, b, d))
        && opposite(turn(c, d, a), turn(c, d, b))
        && !apart(a.x, b.x, c.x, d.x)
        && !apart(a.y, b.y, c.y, d.y)
}

/// Whether a polygon holds a point (the even-odd rule).
fn contains(points: &[Point], at: Point) -> bool {
    let edges = points.iter().zip(points.iter().cycle().skip(1));
    let crossed = edges.filter(|(a, b)| {
        (a.y > at.y) != (b.y > at.y) && at.x < (b.x - a.x) * (at.y - a.y) / (b.y - a.y) + a.x
    });
    crossed.count() % 2 == 1
}

/// Whether two edges that are no neighbours meet.
fn crosses_itself(points: &[Point]) -> bool {
    let edge = |n: usize| (points[n], points[(n + 1) % points.len()]);
    (0..points.len()).any(|n| {
        (n + 2..points.len()).filter(|m| (m + 1) % points.len() != n).any(|m| {
            let ((a, b), (c, d)) = (edge(n), edge(m));
            meet(a, b, c, d)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn p(x: f64, y: f64) -> Point {
        Point { x, y }
    }

    fn zone(shape: Shape) -> NewZone {
        let (camera, name) = ("front".parse().unwrap(), "gate".to_owned());
        NewZone {
            camera,
            name,
            shape,
            labels: vec![],
            least_confidence: 0.5,
            confirm: 2,
            dwell_seconds: None,
        }
    }

    fn square() -> Shape {
        Shape::Region(vec![p(0.4, 0.4), p(0.6, 0.4), p(0.6, 0.6), p(0.4, 0.6)])
    }

    /// What a walk tells, one look a second.
    fn walk(zone: &NewZone, places: &[Point]) -> Vec<(usize, Kind)> {
        let mut watch = Watch::default();
        let look = |(second, at): (usize, &Point)| {
            let told = watch.seen(zone, "7", *at, WallUs(second as i64 * 1_000_000));
            told.into_iter().map(move |kind| (second, kind)).collect::<Vec<_>>()
        };
        places.iter().enumerate().flat_map(look).collect()
    }

    #[test]
    fn a_region_is_entered_and_left_once_and_dwelt_in_once() {
        let (out, inside) = (p(0.1, 0.5), p(0.5, 0.5));
        let places = [out, inside, inside, inside, out, inside, inside, inside, inside, out, out, out];
        let dwelt = NewZone { dwell_seconds: Some(3), ..zone(square()) };
        assert_eq!(
            walk(&dwelt, &places),
            [(2, Kind::Enter), (5, Kind::Dwell), (10, Kind::Exit)],
            "one look outside is a box that trembles"
        );
        assert_eq!(walk(&zone(square()), &[out, inside, out, inside, out]), []);
    }

    #[test]
    fn a_line_is_crossed_with_its_direction_and_only_where_it_is() {
        // From left to right, along the middle: below it is to its right.
        let line = zone(Shape::Line(p(0.2, 0.5), p(0.8, 0.5)));
        let down = [p(0.5, 0.3), p(0.5, 0.4), p(0.5, 0.6), p(0.5, 0.7), p(0.5, 0.8)];
        assert_eq!(walk(&line, &down), [(3, Kind::Cross(Direction::Forward))]);
        let up: Vec<Point> = down.iter().rev().copied().collect();
        assert_eq!(walk(&line, &up), [(4, Kind::Cross(Direction::Backward))]);
        let beside = down.map(|at| p(0.95, at.y));
        assert_eq!(walk(&line, &beside), []);
        let tremble = [p(0.5, 0.45), p(0.5, 0.55), p(0.5, 0.45), p(0.5, 0.55), p(0.5, 0.45)];
        assert_eq!(walk(&line, &tremble), []);
    }

    #[test]
    fn whoever_is_cut_off_by_the_lower_edge_is_in_a_region_that_reaches_it() {
        let porch = zone(Shape::Region(vec![p(0.2, 0.7), p(0.8, 0.7), p(0.8, 1.0), p(0.2, 1.0)]));
        let cut_off = Area { at: p(0.4, 0.5), width: 0.2, height: 0.5 }.ground();
        assert_eq!(walk(&porch, &[cut_off; 3]), [(1, Kind::Enter)]);
    }

    #[test]
    fn what_cannot_be_a_zone_is_refused() {
        let bad = |shape| zone(shape).check().unwrap_err().message;
        assert!(bad(Shape::Region(vec![p(0.1, 0.1), p(0.9, 0.9)])).contains("3 to 64"));
        let bow = vec![p(0.1, 0.1), p(0.9, 0.9), p(0.9, 0.1), p(0.1, 0.9)];
        assert!(bad(Shape::Region(bow)).contains("crosses itself"));
        assert!(bad(Shape::Region(vec![p(0.1, 0.1), p(1.1, 0.9), p(0.9, 0.1)])).contains("between 0 and 1"));
        assert!(bad(Shape::Line(p(0.1, 0.1), p(0.1, 0.1))).contains("needs two"));
        zone(square()).check().unwrap();
        assert!(NewZone { least_confidence: 1.1, ..zone(square()) }.check().is_err());
        assert!(NewZone { confirm: 0, ..zone(square()) }.check().is_err());
    }

    #[test]
    fn who_is_gone_for_two_minutes_comes_anew_and_the_number_of_tracks_is_bounded() {
        let zone = NewZone { confirm: 1, ..zone(square()) };
        let mut watch = Watch::default();
        let mut see = |second: i64| watch.seen(&zone, "7", p(0.5, 0.5), WallUs(second * 1_000_000));
        assert_eq!(see(0), [Kind::Enter]);
        assert_eq!(see(119), []);
        assert_eq!(see(239), [Kind::Enter]);
        for n in 0..2 * TRACKS_MAX {
            watch.seen(&zone, &n.to_string(), p(0.5, 0.5), WallUs(240_000_000 + n as i64));
        }
        assert_eq!(watch.tracks.len(), TRACKS_MAX);
    }

    proptest! {
        #[test]
        fn who_entered_leaves_before_entering_again(looks in vec(any::<bool>(), 0..200), confirm in 1u32..4) {
            let zone = NewZone { confirm, dwell_seconds: Some(2), ..zone(square()) };
            let places: Vec<Point> =
                looks.into_iter().map(|inside| if inside { p(0.5, 0.5) } else { p(0.1, 0.1) }).collect();
            let (mut inside, mut dwelt) = (false, false);
            for (_, kind) in walk(&zone, &places) {
                match kind {
                    Kind::Enter => { prop_assert!(!inside); (inside, dwelt) = (true, false); }
                    Kind::Exit => { prop_assert!(inside); inside = false; }
                    Kind::Dwell => { prop_assert!(inside && !dwelt); dwelt = true; }
                    Kind::Cross(_) => prop_assert!(false),
                }
            }
        }

        #[test]
        fn crossings_of_a_line_alternate(ys in vec(0.0f64..1.0, 0..100), confirm in 1u32..4) {
            let zone = NewZone { confirm, ..zone(Shape::Line(p(0.0, 0.5), p(1.0, 0.5))) };
            let places: Vec<Point> = ys.into_iter().map(|y| p(0.5, y)).collect();
            let told: Vec<Kind> = walk(&zone, &places).into_iter().map(|(_, kind)| kind).collect();
            prop_assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
        }
    }
}
