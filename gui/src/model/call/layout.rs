//! Where the tiles of a call stand: as large as they can be, all alike, nothing cut off that matters. Pure.

use eframe::egui::{Pos2, Rect, Vec2};

/// Tiles are not narrower than this (width by height), nor wider than the other.
const NARROWEST: f32 = 4.0 / 3.0;
const WIDEST: f32 = 16.0 / 9.0;
/// Share of the area that a shared screen gets at least; the rest is for the people beside or under it.
const SCREEN_SHARE: f32 = 0.78;
/// The own picture: share of the area's width, and its limits in points.
const OWN_SHARE: f32 = 0.2;
const OWN_WIDTH: (f32, f32) = (112.0, 256.0);
/// Between tiles.
const GAP: f32 = 8.0;
/// Between the own picture and the edge.
const INSET: f32 = 14.0;

/// Places of everything that is shown in a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The shared screen, if there is one.
    pub screen: Option<Rect>,
    /// The people, in their order.
    pub tiles: Vec<Rect>,
    /// My own picture, above the others.
    pub own: Rect,
}

/// Arranges `count` people in `area`, beside a shared screen if there is one.
#[must_use]
pub fn arrange(area: Rect, count: usize, screen: bool) -> Layout {
    let (screen, people, free) = if screen { beside(area, count) } else { (None, area, false) };
    let tiles: Vec<Rect> = match count {
        0 => Vec::new(),
        // One alone gets all there is.
        1 if !free => vec![people],
        _ => grid(people, count),
    };
    // Beside a screen people stand at the top, where the own picture is not.
    let top = tiles.first().map_or(0.0, |tile| if free { tile.min.y - people.min.y } else { 0.0 });
    let tiles: Vec<Rect> = tiles.into_iter().map(|tile| tile.translate(Vec2::new(0.0, -top))).collect();
    let width = (area.width() * OWN_SHARE).clamp(OWN_WIDTH.0, OWN_WIDTH.1).min(area.width() * 0.4);
    let size = Vec2::new(width, width / WIDEST);
    // Over the shared screen it would hide what is shown: there it stands at the end of the people's strip.
    let corner = if free {
        people.max - Vec2::new(size.x.min(people.width()), size.y)
    } else {
        area.max - size - Vec2::splat(INSET)
    };
    let size = if free { size * (people.width() / size.x).min(1.0) } else { size };
    Layout { screen, tiles, own: Rect::from_min_size(corner, size) }
}

/// The place of the screen, and of the people.
fn beside(area: Rect, count: usize) -> (Option<Rect>, Rect, bool) {
    if count == 0 {
        return (Some(area), Rect::NOTHING, false);
    }
    let wide = area.width() >= area.height() * 1.25;
    if wide {
        let strip = ((1.0 - SCREEN_SHARE) * area.width()).clamp(120.0, 300.0).min(area.width() * 0.4);
        let x = area.max.x - strip;
        let screen = Rect::from_min_max(area.min, Pos2::new(x - GAP, area.max.y));
        // My own picture stands below the people.
        let people = Rect::from_min_max(Pos2::new(x, area.min.y), area.max);
        (Some(screen), people, true)
    } else {
        let strip = ((1.0 - SCREEN_SHARE) * area.height()).clamp(90.0, 220.0).min(area.height() * 0.4);
        let y = area.max.y - strip;
        let screen = Rect::from_min_max(area.min, Pos2::new(area.max.x, y - GAP));
        (Some(screen), Rect::from_min_max(Pos2::new(area.min.x, y), area.max), true)
    }
}

/// All alike, as large as possible, the last row centred.
fn grid(area: Rect, count: usize) -> Vec<Rect> {
    let best = (1..=count).map(|columns| (columns, size(area, count, columns)));
    let better = |a: &(usize, Vec2), b: &(usize, Vec2)| (a.1.x * a.1.y).total_cmp(&(b.1.x * b.1.y));
    let Some((columns, tile)) = best.max_by(better) else { return Vec::new() };
    let rows = count.div_ceil(columns);
    let line = |n: usize, length: f32| n as f32 * length + (n - 1) as f32 * GAP;
    let top = area.center().y - line(rows, tile.y) / 2.0;
    let place = |index: usize| {
        let (row, column) = (index / columns, index % columns);
        let in_row = columns.min(count - row * columns);
        let left = area.center().x - line(in_row, tile.x) / 2.0;
        let min = Pos2::new(left + column as f32 * (tile.x + GAP), top + row as f32 * (tile.y + GAP));
        Rect::from_min_size(min, tile)
    };
    (0..count).map(place).collect()
}

/// Size of a tile in a grid of so many columns.
fn size(area: Rect, count: usize, columns: usize) -> Vec2 {
    let rows = count.div_ceil(columns);
    let of = |length: f32, n: usize| ((length - (n - 1) as f32 * GAP) / n as f32).max(1.0);
    let (width, height) = (of(area.width(), columns), of(area.height(), rows));
    Vec2::new(width.min(height * WIDEST), height.min(width / NARROWEST))
}

/// The part of a picture (as shares of its sides, upper left and lower right) that fills a tile without distortion. If
/// more than `most` of it would be cut off, the whole picture is shown, and the second value is where in the tile.
#[must_use]
pub fn fill(picture: Vec2, tile: Rect, most: f32) -> (Rect, Rect) {
    let whole = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
    if picture.x < 1.0 || picture.y < 1.0 || tile.width() < 1.0 || tile.height() < 1.0 {
        return (whole, tile);
    }
    let (have, want) = (picture.x / picture.y, tile.width() / tile.height());
    let keep = if have > want { Vec2::new(want / have, 1.0) } else { Vec2::new(1.0, have / want) };
    if 1.0 - keep.x * keep.y <= most {
        return (Rect::from_center_size(Pos2::new(0.5, 0.5), keep), tile);
    }
    let scale = (tile.width() / picture.x).min(tile.height() / picture.y);
    (whole, Rect::from_center_size(tile.center(), picture * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(width: f32, height: f32) -> Rect {
        Rect::from_min_size(Pos2::new(10.0, 20.0), Vec2::new(width, height))
    }

    #[test]
    fn up_to_five_tiles_neither_overlap_nor_leave_the_area() {
        for (width, height) in [(1200.0, 700.0), (640.0, 400.0), (400.0, 800.0), (300.0, 200.0), (1920.0, 300.0)] {
            for count in 1..=5 {
                for screen in [false, true] {
                    let area = area(width, height);
                    let layout = arrange(area, count, screen);
                    assert_eq!(layout.tiles.len(), count);
                    assert_eq!(layout.screen.is_some(), screen);
                    let all: Vec<Rect> = layout.tiles.iter().chain(&layout.screen).copied().collect();
                    for (i, one) in all.iter().enumerate() {
                        assert!(area.expand(0.5).contains_rect(*one), "{count} {screen} {width}x{height}: {one:?}");
                        assert!(one.width() > 20.0 && one.height() > 15.0, "{one:?}");
                        for other in &all[i + 1..] {
                            assert!(!one.shrink(0.5).intersects(other.shrink(0.5)), "{one:?} {other:?}");
                        }
                    }
                    assert!(area.expand(0.5).contains_rect(layout.own), "{:?}", layout.own);
                    if let Some(screen) = layout.screen {
                        assert!(!screen.intersects(layout.own), "nothing hides the shared screen");
                    }
                }
            }
        }
    }

    #[test]
    fn one_fills_all_two_stand_side_by_side_and_four_in_a_square() {
        let wide = area(1200.0, 700.0);
        assert_eq!(arrange(wide, 1, false).tiles, vec![wide]);
        let two = arrange(wide, 2, false).tiles;
        assert!(two[0].max.x < two[1].min.x && (two[0].min.y - two[1].min.y).abs() < 0.1);
        let four = arrange(wide, 4, false).tiles;
        assert!((four[0].min.x - four[2].min.x).abs() < 0.1 && four[0].max.y < four[2].min.y);
        let five = arrange(wide, 5, false).tiles;
        // Three above, two centred below.
        assert!((five[3].min.x + five[4].max.x - five[0].min.x - five[2].max.x).abs() < 1.0);
        let upright = arrange(area(400.0, 800.0), 2, false).tiles;
        assert!(upright[0].max.y < upright[1].min.y);
    }

    #[test]
    fn tiles_keep_the_shape_of_a_camera_picture() {
        for count in 2..=5 {
            for tile in arrange(area(1500.0, 500.0), count, false).tiles {
                let shape = tile.width() / tile.height();
                assert!((NARROWEST - 0.01..=WIDEST + 0.01).contains(&shape), "{shape}");
            }
        }
    }

    #[test]
    fn a_picture_is_cut_a_little_or_shown_whole() {
        let tile = Rect::from_min_size(Pos2::ZERO, Vec2::new(160.0, 100.0));
        let (part, place) = fill(Vec2::new(640.0, 360.0), tile, 0.3);
        assert!(part.width() < 1.0 && (part.height() - 1.0).abs() < 1e-6);
        assert_eq!(place, tile);
        // An upright phone in a lying tile: nobody's head is cut off.
        let (part, place) = fill(Vec2::new(360.0, 640.0), tile, 0.3);
        assert!((part.height() - 1.0).abs() < 1e-6 && (place.height() - 100.0).abs() < 0.1);
        assert!((place.width() - 56.25).abs() < 0.1);
    }
}
