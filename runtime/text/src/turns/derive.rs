//! The table of turns from a Jinja template: probed with marked contents, then checked on many conversations.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Value as Json, json};

use super::{Role, Traits, Turn, Turns};
use crate::template::{Context, DateTime, render};

/// The table that writes what `template` writes, if there is one.
///
/// It is checked on conversations with and without a system turn, of one to three rounds, with odd white space,
/// other scripts, thoughts and markup in the contents, at two dates. Not checked, as the table has no place for
/// them: tools, other roles, and `extra` variables.
#[must_use]
pub fn derive(template: &str, bos_token: &str, eos_token: &str) -> Option<Turns<'static>> {
    let jinja = Jinja {
        template,
        bos_token,
        eos_token,
    };
    let plain = Traits::default();
    let mut turns = None;
    for system in [plain, Traits::NO_SYSTEM] {
        for last in [plain, Traits::NO_LAST_ASSISTANT] {
            turns = turns.or_else(|| with_traits(&jinja, probe(&jinja, system.with(last))?));
        }
    }
    turns
}

/// A template and the texts of its tokens.
struct Jinja<'t> {
    template: &'t str,
    bos_token: &'t str,
    eos_token: &'t str,
}

/// Days on which templates are tried: one that writes the date has no table.
const DATES: [DateTime; 2] = [
    DateTime {
        year: 2024,
        month: 7,
        day: 26,
        ..DateTime::EPOCH
    },
    DateTime {
        year: 2031,
        month: 12,
        day: 3,
        ..DateTime::EPOCH
    },
];

/// Contents that stand for system, users and assistants; no template holds them.
const SYSTEM: &str = "Xq7systemq7X";
const USERS: [&str; 2] = ["Xq7useroneq7X", "Xq7usertwoq7X"];
const ASSISTANT: &str = "Xq7assistantq7X";

impl Jinja<'_> {
    fn render(
        &self,
        conversation: &[Turn<'_>],
        add_generation_prompt: bool,
        now: DateTime,
    ) -> Option<String> {
        let context = Context {
            messages: conversation.iter().map(message).collect(),
            add_generation_prompt,
            bos_token: self.bos_token.to_owned(),
            eos_token: self.eos_token.to_owned(),
            now,
            ..Context::default()
        };
        render(self.template, &context).ok()
    }

    /// The texts around the contents of `conversation`, one more than turns.
    fn around<const N: usize>(
        &self,
        conversation: &[Turn<'_>],
        add_generation_prompt: bool,
    ) -> Option<[String; N]> {
        let rendered = self.render(conversation, add_generation_prompt, DATES[0])?;
        let mut rest = &*rendered;
        let mut parts = [const { String::new() }; N];
        let (last, parts_before) = parts.split_last_mut()?;
        for (part, turn) in parts_before.iter_mut().zip(conversation) {
            let (before, after) = rest.split_once(turn.content)?;
            *part = before.to_owned();
            rest = after;
        }
        *last = rest.to_owned();
        Some(parts)
    }
}

fn message(turn: &Turn<'_>) -> Json {
    let role = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    json!({"role": role, "content": turn.content})
}

/// Reads the texts off renderings of marked conversations.
fn probe(jinja: &Jinja<'_>, traits: Traits) -> Option<Turns<'static>> {
    let [system, user, assistant, again] = conversation_of_markers();
    let [opening, asked] = jinja.around(&[user], true)?;
    let [_, unasked] = jinja.around(&[user], false)?;
    let [_, answer, question, _] = jinja.around(&[user, assistant, again], true)?;
    let user_suffix = common([&asked, &unasked, &answer]);
    let end = &unasked[user_suffix.len()..];
    let assistant_suffix = if traits.has(Traits::NO_LAST_ASSISTANT) {
        // Where its border to the next user's prefix lies never shows.
        question.clone()
    } else {
        let [_, _, closed] = jinja.around(&[user, assistant], false)?;
        let suffix = closed.strip_suffix(end)?;
        question.starts_with(suffix).then_some(())?;
        suffix.to_owned()
    };
    let (system_prefix, system_suffix) = if traits.has(Traits::NO_SYSTEM) {
        jinja
            .around::<3>(&[system, user], true)
            .is_none()
            .then(Default::default)?
    } else {
        let [prefix, suffix, _] = jinja.around(&[system, user], true)?;
        (prefix, suffix)
    };
    Some(Turns {
        opening: opening.into(),
        system_prefix: system_prefix.into(),
        system_suffix: system_suffix.into(),
        user_prefix: question[assistant_suffix.len()..].to_owned().into(),
        assistant_prefix: answer[user_suffix.len()..].to_owned().into(),
        generation: asked[user_suffix.len()..].to_owned().into(),
        end: Cow::Owned(end.to_owned()),
        user_suffix: user_suffix.into(),
        assistant_suffix: assistant_suffix.into(),
        traits,
    })
}

const fn conversation_of_markers() -> [Turn<'static>; 4] {
    [
        Turn {
            role: Role::System,
            content: SYSTEM,
        },
        Turn {
            role: Role::User,
            content: USERS[0],
        },
        Turn {
            role: Role::Assistant,
            content: ASSISTANT,
        },
        Turn {
            role: Role::User,
            content: USERS[1],
        },
    ]
}

/// `turns` with the traits that the template shows, if all conversations agree then.
fn with_traits(jinja: &Jinja<'_>, mut turns: Turns<'static>) -> Option<Turns<'static>> {
    const THOUGHTLESS: Traits = Traits::DROPS_THINKING;
    const UNBROKEN: Traits = THOUGHTLESS.with(Traits::DROPS_BREAKS_AFTER_THINKING);
    let [system, user, assistant, again] = conversation_of_markers();
    let spaced = |turn: Turn<'static>, content| Turn { content, ..turn };
    let with_system = [spaced(system, " \n a \t\n"), user];
    let with_user = [spaced(user, "\n\n  a \n ")];
    let with_assistant = [user, spaced(assistant, " \n a\n\n "), again];
    let with_breaks = [user, spaced(assistant, "\n\na"), again];
    let with_thought = [user, spaced(assistant, "<think>\na\n</think>\n\nb"), again];
    let mut trials: Vec<(&[Turn<'_>], &[Traits])> = alloc::vec![
        (&with_user, &[Traits::TRIMS_USER]),
        (&with_assistant, &[Traits::TRIMS_ASSISTANT]),
        (&with_breaks, &[Traits::DROPS_LEADING_BREAKS]),
        (&with_thought, &[THOUGHTLESS, UNBROKEN]),
    ];
    if !turns.traits.has(Traits::NO_SYSTEM) {
        trials.push((&with_system, &[Traits::TRIMS_SYSTEM]));
    }
    for (conversation, choices) in trials {
        let choices = [Traits::default()]
            .into_iter()
            .chain(choices.iter().copied());
        let mut choices = choices.map(|choice| turns.traits.with(choice));
        turns.traits = choices.find(|&traits| {
            let changed = Turns {
                traits,
                ..turns.clone()
            };
            agrees(jinja, &changed, conversation, true)
        })?;
    }
    verify(jinja, &turns).then_some(turns)
}

/// Contents of the conversations on which template and table must agree, in threes of system, user, assistant.
const CONTENTS: [[&str; 3]; 6] = [
    ["Be brief.", "What is tea?", "A drink."],
    [
        "You are a pirate.\nSpeak so.",
        "Why?\n\nTell me more.",
        "Because.\n- one\n- two",
    ],
    ["  leading", " a  b ", "trailing  "],
    ["\n\nlines\n", "\ttab\r\n", "\nx\n"],
    ["你是助手。", "茶是什么？ 😀", "一种饮料。"],
    [
        "{{ x }} {% if %}",
        "<b>'\"&\\ </b> [INST] null",
        "<think>\nhm\n</think>\n\nIt is </so>.",
    ],
];

/// Whether template and table agree on all conversations.
fn verify(jinja: &Jinja<'_>, turns: &Turns<'_>) -> bool {
    (0..CONTENTS.len()).all(|start| {
        let mut conversation = Vec::new();
        if !turns.traits.has(Traits::NO_SYSTEM) {
            conversation.push(Turn {
                role: Role::System,
                content: CONTENTS[start][0],
            });
        }
        let first = conversation.len();
        for round in 0..3 {
            let [_, user, assistant] = CONTENTS[(start + round) % CONTENTS.len()];
            conversation.push(Turn {
                role: Role::User,
                content: user,
            });
            conversation.push(Turn {
                role: Role::Assistant,
                content: assistant,
            });
        }
        // With the system turn and without, up to every turn.
        (0..=first).all(|from| {
            (first + 1..=conversation.len()).all(|to| {
                let part = &conversation[from..to];
                let asks = part.last().is_some_and(|turn| turn.role == Role::User);
                let closes = asks || !turns.traits.has(Traits::NO_LAST_ASSISTANT);
                (!asks || agrees(jinja, turns, part, true))
                    && (!closes || agrees(jinja, turns, part, false))
            })
        })
    })
}

/// Whether template and table write the same, on all dates.
fn agrees(
    jinja: &Jinja<'_>,
    turns: &Turns<'_>,
    conversation: &[Turn<'_>],
    add_generation_prompt: bool,
) -> bool {
    turns
        .render(conversation, add_generation_prompt)
        .is_ok_and(|text| {
            DATES.iter().all(|&now| {
                jinja
                    .render(conversation, add_generation_prompt, now)
                    .as_deref()
                    == Some(&text)
            })
        })
}

/// The longest common beginning that breaks no `<token>` or `[TOKEN]`.
fn common(texts: [&str; 3]) -> String {
    let first = texts[0];
    let same = |text: &str| {
        let pairs = text.bytes().zip(first.bytes());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let length = texts.into_iter().map(same).min().unwrap_or(0);
    let whole = |length: &usize| first.is_char_boundary(*length);
    let length = (0..=length).rev().find(whole).unwrap_or(0);
    let beginning = &first[..length];
    let whole = |open: char, close: char| match (beginning.rfind(open), beginning.rfind(close)) {
        (Some(opened), None) => opened,
        (Some(opened), Some(closed)) if opened > closed => opened,
        _ => length,
    };
    beginning[..whole('<', '>').min(whole('[', ']'))].to_owned()
}
