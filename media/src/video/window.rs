//! The plain picture window of the command line: one thread with the window system's event loop for the whole process
//! (a process can have only one), and any number of windows on it.
//!
//! Whoever shows a picture only puts it into the window's slot and wakes the thread; a slow display leaves pictures
//! out and holds nobody up.

use super::Error;
use super::picture::Shared;
use super::sink::Sink;

#[cfg(all(unix, not(target_os = "macos")))]
pub(crate) use shown::Window;

/// A system whose windows belong to the main thread, which is not ours to take.
#[cfg(not(all(unix, not(target_os = "macos"))))]
#[derive(Debug)]
pub(crate) struct Window;

#[cfg(not(all(unix, not(target_os = "macos"))))]
impl Window {
    pub(crate) fn open(_title: &str) -> Result<Self, Error> {
        Err(Error::Window("on this system pictures are shown by twocan-gui".into()))
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
impl Sink for Window {
    fn show(&mut self, _picture: &Shared) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
mod shown {
    use std::collections::HashMap;
    use std::num::NonZeroU32;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
    use std::time::Duration;

    use winit::application::ApplicationHandler;
    use winit::dpi::LogicalSize;
    use winit::event::{ElementState, WindowEvent};
    use winit::event_loop::{ActiveEventLoop, EventLoop, EventLoopProxy, OwnedDisplayHandle};
    use winit::keyboard::{Key, NamedKey};
    use winit::platform::wayland::EventLoopBuilderExtWayland;
    use winit::platform::x11::EventLoopBuilderExtX11;
    use winit::window::{Fullscreen, Window as SystemWindow, WindowId};

    use super::{Error, Shared, Sink};
    use crate::video::ladder::fit;

    /// The display server must answer within this time.
    const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
    /// Size of a new window, in logical pixels.
    const FIRST_SIZE: (u32, u32) = (640, 360);
    /// Largest window that is drawn into, in pixels; more is not a display, but a mistake.
    const MAX_SIDE: u32 = 16_384;

    /// One window, as the one who shows pictures in it sees it.
    pub(crate) struct Window {
        id: u64,
        slot: Arc<Slot>,
        host: &'static Host,
    }

    /// What a window and its owner share.
    #[derive(Default)]
    struct Slot {
        latest: Mutex<Option<Shared>>,
        /// A wish to draw is on its way.
        pending: AtomicBool,
        /// Why there is no window any more.
        gone: OnceLock<String>,
    }

    enum Wish {
        Open(u64, String, Arc<Slot>),
        Draw(u64),
        Close(u64),
    }

    struct Host {
        proxy: Mutex<EventLoopProxy<Wish>>,
    }

    impl Host {
        /// The event loop's thread, started with the first window.
        fn get() -> Result<&'static Self, Error> {
            static HOST: OnceLock<Result<Host, String>> = OnceLock::new();
            HOST.get_or_init(start).as_ref().map_err(|text| Error::Window(text.clone()))
        }

        fn send(&self, wish: Wish) -> Result<(), Error> {
            let proxy = self.proxy.lock().unwrap_or_else(PoisonError::into_inner);
            proxy.send_event(wish).map_err(|_| Error::Window("the connection to the display is lost".into()))
        }
    }

    fn start() -> Result<Host, String> {
        let (tell, told) = mpsc::sync_channel(1);
        let run = move || {
            let mut builder = EventLoop::<Wish>::with_user_event();
            EventLoopBuilderExtX11::with_any_thread(&mut builder, true);
            EventLoopBuilderExtWayland::with_any_thread(&mut builder, true);
            let made = builder.build().map_err(|e| no_display(&e)).and_then(|event_loop| {
                let context = softbuffer::Context::new(event_loop.owned_display_handle());
                context.map(|context| (event_loop, context)).map_err(|e| e.to_string())
            });
            match made {
                Ok((event_loop, context)) => {
                    if tell.send(Ok(event_loop.create_proxy())).is_ok() {
                        let mut windows = Windows { context, open: HashMap::new() };
                        if let Err(error) = event_loop.run_app(&mut windows) {
                            tracing::warn!(%error, "the picture window's event loop ended");
                        }
                        windows.all_gone("the connection to the display is lost");
                    }
                }
                // Nobody waits any more when this fails.
                Err(text) => drop(tell.send(Err(text))),
            }
        };
        std::thread::Builder::new().name("window".into()).spawn(run).map_err(|e| e.to_string())?;
        let proxy = told.recv_timeout(OPEN_TIMEOUT).map_err(|_| "the display does not answer".to_owned())??;
        Ok(Host { proxy: Mutex::new(proxy) })
    }

    /// The library's words name its own source files; what is the matter is mostly plain.
    fn no_display(error: &winit::error::EventLoopError) -> String {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if set("DISPLAY") || set("WAYLAND_DISPLAY") || set("WAYLAND_SOCKET") {
            let text = error.to_string();
            format!("the display cannot be opened ({})", text.rsplit(": ").next().unwrap_or(&text))
        } else {
            "there is no display (neither WAYLAND_DISPLAY nor DISPLAY is set)".into()
        }
    }

    impl Window {
        /// Opens a window. That there is a display is known on return; the window itself follows.
        pub(crate) fn open(title: &str) -> Result<Self, Error> {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let host = Host::get()?;
            let (id, slot) = (NEXT.fetch_add(1, Ordering::Relaxed), Arc::new(Slot::default()));
            host.send(Wish::Open(id, title.into(), Arc::clone(&slot)))?;
            Ok(Self { id, slot, host })
        }
    }

    impl Sink for Window {
        fn show(&mut self, picture: &Shared) -> Result<(), Error> {
            if let Some(why) = self.slot.gone.get() {
                return Err(Error::Window(why.clone()));
            }
            *self.slot.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(picture));
            if !self.slot.pending.swap(true, Ordering::AcqRel) {
                self.host.send(Wish::Draw(self.id))?;
            }
            Ok(())
        }
    }

    impl Drop for Window {
        fn drop(&mut self) {
            // If the loop is gone, so is the window.
            let _ = self.host.send(Wish::Close(self.id));
        }
    }

    struct Open {
        window: Arc<SystemWindow>,
        surface: softbuffer::Surface<OwnedDisplayHandle, Arc<SystemWindow>>,
        slot: Arc<Slot>,
    }

    struct Windows {
        context: softbuffer::Context<OwnedDisplayHandle>,
        open: HashMap<u64, Open>,
    }

    impl Windows {
        fn make(&self, on: &ActiveEventLoop, title: &str, slot: Arc<Slot>) -> Result<Open, String> {
            let attributes = SystemWindow::default_attributes()
                .with_title(title)
                .with_inner_size(LogicalSize::new(FIRST_SIZE.0, FIRST_SIZE.1))
                .with_min_inner_size(LogicalSize::new(160, 90));
            let window = Arc::new(on.create_window(attributes).map_err(|e| e.to_string())?);
            let surface = softbuffer::Surface::new(&self.context, Arc::clone(&window)).map_err(|e| e.to_string())?;
            Ok(Open { window, surface, slot })
        }

        fn close(&mut self, id: u64, why: &str) {
            if let Some(open) = self.open.remove(&id) {
                // The first reason stays.
                let _ = open.slot.gone.set(why.into());
            }
        }

        fn all_gone(&mut self, why: &str) {
            for id in self.open.keys().copied().collect::<Vec<_>>() {
                self.close(id, why);
            }
        }
    }

    impl ApplicationHandler<Wish> for Windows {
        fn resumed(&mut self, _on: &ActiveEventLoop) {}

        fn user_event(&mut self, on: &ActiveEventLoop, wish: Wish) {
            match wish {
                Wish::Open(id, title, slot) => match self.make(on, &title, Arc::clone(&slot)) {
                    Ok(open) => drop(self.open.insert(id, open)),
                    // Only this place says why, and once.
                    Err(why) => drop(slot.gone.set(why)),
                },
                Wish::Draw(id) => {
                    if let Some(open) = self.open.get(&id) {
                        open.window.request_redraw();
                    }
                }
                Wish::Close(id) => self.close(id, "it was closed"),
            }
        }

        fn window_event(&mut self, _on: &ActiveEventLoop, window: WindowId, event: WindowEvent) {
            let Some((&id, open)) = self.open.iter_mut().find(|(_, open)| open.window.id() == window) else { return };
            match event {
                WindowEvent::RedrawRequested => {
                    open.slot.pending.store(false, Ordering::Release);
                    if let Err(why) = open.draw() {
                        self.close(id, &why);
                    }
                }
                WindowEvent::Resized(_) => open.window.request_redraw(),
                WindowEvent::CloseRequested => self.close(id, "it was closed"),
                WindowEvent::KeyboardInput { event, .. } if event.state == ElementState::Pressed => {
                    let full = open.window.fullscreen().is_some();
                    match event.logical_key {
                        Key::Named(NamedKey::Escape) if full => open.window.set_fullscreen(None),
                        Key::Named(NamedKey::F11) => {
                            open.window.set_fullscreen((!full).then_some(Fullscreen::Borderless(None)));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    impl Open {
        /// Draws the latest picture in the middle, as large as it fits, on black.
        fn draw(&mut self) -> Result<(), String> {
            let size = self.window.inner_size();
            let (width, height) = (size.width.min(MAX_SIDE), size.height.min(MAX_SIDE));
            let (Some(w), Some(h)) = (NonZeroU32::new(width), NonZeroU32::new(height)) else { return Ok(()) };
            self.surface.resize(w, h).map_err(|e| e.to_string())?;
            let mut buffer = self.surface.buffer_mut().map_err(|e| e.to_string())?;
            let picture = self.slot.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match picture.and_then(|picture| scaled(&picture, (width, height))) {
                Some((rgba, inner_width, inner_height)) => {
                    let (width, inner_width) = (width as usize, inner_width as usize);
                    let (left, top) = ((width - inner_width) / 2, (height - inner_height) as usize / 2);
                    let inner = rgba.chunks_exact(inner_width * 4);
                    if inner_width < width || inner_height < height {
                        buffer.fill(0);
                    }
                    for (row, pixels) in buffer.chunks_exact_mut(width).skip(top).zip(inner) {
                        for (to, p) in row[left..].iter_mut().zip(pixels.chunks_exact(4)) {
                            *to = u32::from_be_bytes([0, p[0], p[1], p[2]]);
                        }
                    }
                }
                None => buffer.fill(0),
            }
            self.window.pre_present_notify();
            buffer.present().map_err(|e| e.to_string())
        }
    }

    /// The picture as RGBA in the largest size of its shape within `window`, and that size.
    fn scaled(picture: &Shared, window: (u32, u32)) -> Option<(Vec<u8>, u32, u32)> {
        let shape = (picture.width(), picture.height());
        // `fit` only makes smaller: a picture that is as large as can be is made to fit.
        let factor = (window.0 / shape.0 + 1).max(window.1 / shape.1 + 1);
        let (width, height) = fit((shape.0 * factor, shape.1 * factor), window);
        if width > window.0 || height > window.1 {
            return None;
        }
        let picture = picture.scaled(width, height).ok()?;
        Some((picture.to_rgba(), width, height))
    }
}
