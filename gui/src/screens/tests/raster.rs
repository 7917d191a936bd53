//! Draws what egui wants drawn, by the processor alone: for pictures of screens without a display.

use std::collections::HashMap;

use eframe::egui::epaint::{Mesh, Primitive, Vertex};
use eframe::egui::{ClippedPrimitive, Color32, ColorImage, ImageData, Rect, TextureId, TexturesDelta};

/// Textures, as a graphics card would keep them.
#[derive(Default)]
pub(super) struct Raster {
    textures: HashMap<TextureId, ColorImage>,
}

impl Raster {
    pub(super) fn update(&mut self, delta: &TexturesDelta) {
        for (id, change) in &delta.set {
            let ImageData::Color(image) = &change.image;
            match change.pos {
                None => drop(self.textures.insert(*id, image.as_ref().clone())),
                Some([x, y]) => {
                    let whole = self.textures.get_mut(id).unwrap();
                    let width = whole.size[0];
                    for (row, pixels) in image.pixels.chunks_exact(image.size[0]).enumerate() {
                        let at = (y + row) * width + x;
                        whole.pixels[at..at + pixels.len()].copy_from_slice(pixels);
                    }
                }
            }
        }
        for id in &delta.free {
            self.textures.remove(id);
        }
    }

    pub(super) fn draw(&self, primitives: &[ClippedPrimitive], size: [usize; 2]) -> ColorImage {
        let mut target = ColorImage::filled(size, Color32::BLACK);
        for ClippedPrimitive { clip_rect, primitive } in primitives {
            let Primitive::Mesh(mesh) = primitive else { continue };
            let Some(texture) = self.textures.get(&mesh.texture_id) else { continue };
            triangles(&mut target, mesh, texture, *clip_rect);
        }
        target
    }
}

fn triangles(target: &mut ColorImage, mesh: &Mesh, texture: &ColorImage, clip: Rect) {
    let [width, height] = target.size;
    let bound = |value: f32, most: usize| (value.round().max(0.0) as usize).min(most);
    let (left, right) = (bound(clip.min.x, width), bound(clip.max.x, width));
    let (top, bottom) = (bound(clip.min.y, height), bound(clip.max.y, height));
    for corners in mesh.indices.chunks_exact(3) {
        let mut v = [0, 1, 2].map(|n| mesh.vertices[corners[n] as usize]);
        let area = edge(&v[0], &v[1], v[2].pos.x, v[2].pos.y);
        if area == 0.0 {
            continue;
        }
        if area < 0.0 {
            v.swap(1, 2);
        }
        let area = area.abs();
        let span = |at: fn(&Vertex) -> f32| {
            let values = [at(&v[0]), at(&v[1]), at(&v[2])];
            (values.iter().copied().fold(f32::MAX, f32::min), values.iter().copied().fold(f32::MIN, f32::max))
        };
        let ((x0, x1), (y0, y1)) = (span(|v| v.pos.x), span(|v| v.pos.y));
        let range = |low: f32, high: f32, from: usize, to: usize| {
            (low.floor().max(0.0) as usize).max(from)..(high.ceil().max(0.0) as usize).min(to)
        };
        for y in range(y0, y1, top, bottom) {
            for x in range(x0, x1, left, right) {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let sides = [(1, 2), (2, 0), (0, 1)].map(|(a, b)| {
                    let value = edge(&v[a], &v[b], px, py);
                    // A pixel on a shared edge belongs to one side only.
                    let (dx, dy) = (v[b].pos.x - v[a].pos.x, v[b].pos.y - v[a].pos.y);
                    let inside = value > 0.0 || (value == 0.0 && (dy < 0.0 || (dy == 0.0 && dx > 0.0)));
                    (value / area, inside)
                });
                if sides.iter().all(|(_, inside)| *inside) {
                    let weights = sides.map(|(weight, _)| weight);
                    let source = shade(&v, weights, texture);
                    blend(&mut target.pixels[y * width + x], source);
                }
            }
        }
    }
}

fn edge(a: &Vertex, b: &Vertex, x: f32, y: f32) -> f32 {
    (b.pos.x - a.pos.x) * (y - a.pos.y) - (b.pos.y - a.pos.y) * (x - a.pos.x)
}

/// Colour of the corners times the texture; all premultiplied, in gamma space as egui mixes.
fn shade(v: &[Vertex; 3], weights: [f32; 3], texture: &ColorImage) -> [f32; 4] {
    let mix = |at: &dyn Fn(&Vertex) -> f32| (0..3).map(|n| at(&v[n]) * weights[n]).sum::<f32>();
    let (u, w) = (mix(&|v| v.uv.x), mix(&|v| v.uv.y));
    let texel = sample(texture, u, w);
    [0, 1, 2, 3].map(|channel| mix(&|v| f32::from(v.color.to_array()[channel])) / 255.0 * texel[channel])
}

fn sample(texture: &ColorImage, u: f32, v: f32) -> [f32; 4] {
    let [width, height] = texture.size;
    let (x, y) = (u * width as f32 - 0.5, v * height as f32 - 0.5);
    let (fx, fy) = (x - x.floor(), y - y.floor());
    let at = |dx: f32, dy: f32| {
        let x = ((x.floor() + dx).max(0.0) as usize).min(width - 1);
        let y = ((y.floor() + dy).max(0.0) as usize).min(height - 1);
        texture.pixels[y * width + x].to_array()
    };
    let corners = [at(0.0, 0.0), at(1.0, 0.0), at(0.0, 1.0), at(1.0, 1.0)];
    let shares = [(1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy];
    [0, 1, 2, 3].map(|channel| (0..4).map(|n| f32::from(corners[n][channel]) * shares[n]).sum::<f32>() / 255.0)
}

fn blend(pixel: &mut Color32, source: [f32; 4]) {
    let old = pixel.to_array();
    let rest = 1.0 - source[3].clamp(0.0, 1.0);
    let new = [0, 1, 2].map(|n| (source[n] * 255.0 + f32::from(old[n]) * rest).round().clamp(0.0, 255.0) as u8);
    *pixel = Color32::from_rgb(new[0], new[1], new[2]);
}
