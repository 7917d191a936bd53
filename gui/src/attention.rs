//! Calls for the person's attention: the bell, desktop notifications, and bringing the window to the front.

use std::sync::mpsc::{Receiver, sync_channel};

use eframe::egui::{Context, ViewportCommand};

use crate::model::Model;
use crate::model::ring::{Notice, Notices, tune};
use crate::text::{self, call as words, t};
use crate::worker::Command;
use crate::worker::bell::Bell;
use crate::worker::notify::{Card, Chosen, Notifier};

/// Choices that wait for the window; a person makes one at a time.
const CHOICES: usize = 16;

/// Everything that is heard and shown of a call outside of the window.
pub struct Attention {
    bell: Bell,
    notices: Notices,
    notifier: Option<Notifier>,
    chosen: Receiver<Chosen>,
}

impl std::fmt::Debug for Attention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attention").field("notices", &self.notices).finish_non_exhaustive()
    }
}

impl Attention {
    /// `silent`: without sound, for machines that have none.
    #[must_use]
    pub fn new(context: &Context, silent: bool) -> Self {
        let (tx, chosen) = sync_channel(CHOICES);
        let context = context.clone();
        let notifier = Notifier::start(move |choice| {
            drop(tx.try_send(choice));
            context.request_repaint();
        });
        let bell = if silent { Bell::silent() } else { Bell::new() };
        Self { bell, notices: Notices::default(), notifier, chosen }
    }

    /// Follows the model; what the person chose in a notification is returned.
    pub fn follow(&mut self, context: &Context, model: &Model) -> Vec<Command> {
        self.bell.play(tune(model), model.gears.gear.chosen.audio.speaker.as_ref());
        let focused = context.input(|input| input.focused);
        for notice in self.notices.follow(model, focused) {
            let Some(notifier) = &self.notifier else { continue };
            match notice {
                Notice::Show { call, name, video } => notifier.show(card(call, &name, video)),
                Notice::Close { call } => notifier.close(call),
            }
        }
        let mut commands = Vec::new();
        while let Ok(choice) = self.chosen.try_recv() {
            if !matches!(choice, Chosen::Decline(_)) {
                context.send_viewport_cmd(ViewportCommand::Minimized(false));
                context.send_viewport_cmd(ViewportCommand::Focus);
            }
            commands.extend(match choice {
                Chosen::Answer(call) => Some(Command::Answer { call, video: false }),
                Chosen::AnswerVideo(call) => Some(Command::Answer { call, video: true }),
                Chosen::Decline(call) => Some(Command::Decline { call, text: None }),
                Chosen::Look => None,
            });
        }
        commands
    }
}

fn card(call: String, name: &str, video: bool) -> Card {
    Card {
        call,
        title: text::clean(name),
        body: t(if video { words::CALLS_YOU_VIDEO } else { words::CALLS_YOU }).to_owned(),
        answer: t(words::ANSWER),
        answer_video: video.then(|| t(words::ANSWER_VIDEO)),
        decline: t(words::DECLINE),
    }
}
