//! The pictures of a call as textures of the window: each new picture is handed to the graphics library once.

use std::collections::BTreeMap;

use eframe::egui::{self, TextureHandle, TextureOptions};

use super::{Film, Shot};

/// Whose picture, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The camera of a participant.
    Camera(u16),
    /// The shared screen of a participant.
    Screen(u16),
    /// My own camera.
    Own,
}

/// What was drawn of a picture, for measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Whose.
    pub place: Place,
    /// How many there were up to this one.
    pub number: u64,
    /// When it was due ([`twocan_media::now_ns`]).
    pub due_ns: u64,
}

/// The textures that are shown.
#[derive(Default)]
pub struct Textures {
    shown: BTreeMap<Place, TextureHandle>,
    drawn: Vec<Drawn>,
}

impl std::fmt::Debug for Textures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Textures").field("places", &self.shown.keys()).finish_non_exhaustive()
    }
}

impl Textures {
    /// Takes the new pictures of these films; textures of other places are given back.
    pub fn refresh<'a>(&mut self, context: &egui::Context, films: impl IntoIterator<Item = (Place, &'a Film)>) {
        self.drawn.clear();
        let mut old = std::mem::take(&mut self.shown);
        for (place, film) in films {
            let texture = old.remove(&place);
            let texture = match film.take() {
                Some(shot) => {
                    self.drawn.push(Drawn { place, number: shot.number, due_ns: shot.due_ns });
                    Some(upload(context, place, texture, shot))
                }
                None => texture,
            };
            if let Some(texture) = texture {
                self.shown.insert(place, texture);
            }
        }
    }

    /// The texture of a place, once there was a picture.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&TextureHandle> {
        self.shown.get(&place)
    }

    /// What the latest frame drew anew.
    #[must_use]
    pub fn drawn(&self) -> &[Drawn] {
        &self.drawn
    }
}

fn upload(context: &egui::Context, place: Place, texture: Option<TextureHandle>, shot: Shot) -> TextureHandle {
    match texture {
        Some(mut texture) => {
            texture.set(shot.image, TextureOptions::LINEAR);
            texture
        }
        None => context.load_texture(format!("{place:?}"), shot.image, TextureOptions::LINEAR),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twocan_media::video::Picture;

    use super::*;

    #[test]
    fn each_picture_is_uploaded_once_and_what_ended_is_given_back() {
        let (context, film, mut textures) = (egui::Context::default(), Film::new(Arc::new(|| ())), Textures::default());
        let place = Place::Camera(1);
        textures.refresh(&context, [(place, &film)]);
        assert!(textures.get(place).is_none());
        film.put(&Picture::black(64, 36).unwrap(), 7);
        textures.refresh(&context, [(place, &film)]);
        assert_eq!(textures.drawn(), [Drawn { place, number: 1, due_ns: 7 }]);
        let id = textures.get(place).unwrap().id();
        textures.refresh(&context, [(place, &film)]);
        assert!(textures.drawn().is_empty());
        assert_eq!(textures.get(place).unwrap().id(), id);
        textures.refresh(&context, []);
        assert!(textures.get(place).is_none());
    }
}
