//! What a chat template writes around the turns of a plain conversation, for devices without Jinja.
//!
//! The section is little-endian: `u32` version (1), `u32` flags (bit 0: what users and assistant say
//! is trimmed; bit 1: what the system says is), then offset and length (`u32` each, in bytes from the section's start) of five texts in UTF-8, in the
//! order of [`Turns`]' fields, then the texts.

use inkstone_text::template::{Context, render};
use serde_json::{Value as Json, json};

const VERSION: u32 = 1;
const TRIMS: u32 = 1;
const TRIMS_SYSTEM: u32 = 2;
/// Contents that no template writes by itself.
const MARKS: [&str; 3] = ["\u{1}a\u{1}", "\u{1}b\u{1}", "\u{1}c\u{1}"];

/// What stands between the contents of a conversation of an optional system message and turns of
/// user and assistant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// From the beginning to the first user's content, without a system message; it may hold a
    /// system message of the template's own.
    pub to_user: String,
    /// From the beginning to the system message's content.
    pub to_system: String,
    /// From the system message's content to the first user's.
    pub system_to_user: String,
    /// From a user's content to the assistant's: what a prompt ends with.
    pub user_to_assistant: String,
    /// From an assistant's content to the next user's.
    pub assistant_to_user: String,
    /// Whether white space around what users and assistant say is dropped.
    pub trims: bool,
    /// Whether white space around what the system says is dropped.
    pub trims_system: bool,
}

impl Turns {
    /// Asks a template, then checks the answer on other conversations.
    ///
    /// `None` where the template refuses such conversations or writes what five texts cannot say:
    /// a date, another text for the last turn, other roles' words.
    #[must_use]
    pub fn of(template: &str, bos: &str, eos: &str) -> Option<Self> {
        let asked = |messages: &[Message<'_>], open| ask(template, bos, eos, messages, open);
        let [a, b, c] = MARKS;
        let plain = asked(&[user(a), assistant(b), user(c)], true)?;
        let rest = plain.split_once(a)?;
        let (to_user, (first_answer, rest)) = (rest.0, rest.1.split_once(b)?);
        let (assistant_to_user, opening) = rest.split_once(c)?;
        let led = asked(&[system(a), user(b)], true)?;
        let (to_system, rest) = led.split_once(a)?;
        let (system_to_user, _) = rest.split_once(b)?;
        let mut turns = Self {
            to_user: to_user.to_owned(),
            to_system: to_system.to_owned(),
            system_to_user: system_to_user.to_owned(),
            user_to_assistant: first_answer.to_owned(),
            assistant_to_user: assistant_to_user.to_owned(),
            trims: false,
            trims_system: false,
        };
        if opening != turns.user_to_assistant {
            return None;
        }
        let checked = |turns: &Self| {
            conversations()
                .iter()
                .all(|messages| Some(turns.write(messages)) == asked(messages, true))
        };
        for trims in 0..4 {
            turns.trims = trims & TRIMS != 0;
            turns.trims_system = trims & TRIMS_SYSTEM != 0;
            if checked(&turns) {
                return Some(turns);
            }
        }
        None
    }

    /// The section's content.
    #[must_use]
    pub fn section(&self) -> Vec<u8> {
        let texts = [
            &self.to_user,
            &self.to_system,
            &self.system_to_user,
            &self.user_to_assistant,
            &self.assistant_to_user,
        ];
        let flags = u32::from(self.trims) * TRIMS + u32::from(self.trims_system) * TRIMS_SYSTEM;
        let mut words = vec![VERSION, flags];
        let mut offset = 4 * (2 + 2 * texts.len() as u32);
        for text in texts {
            // Templates are at most a megabyte long, and what they write is limited too.
            words.extend([offset, text.len() as u32]);
            offset += text.len() as u32;
        }
        let words = words.into_iter().flat_map(u32::to_le_bytes);
        let texts = texts.into_iter().flat_map(|text| text.bytes());
        words.chain(texts).collect()
    }

    /// The prompt for the next answer, as a device writes it.
    fn write(&self, messages: &[Message<'_>]) -> String {
        let mut text = String::new();
        let mut before = "";
        for message in messages {
            text += match (before, message.role) {
                ("", "system") => &self.to_system,
                ("", _) => &self.to_user,
                ("system", _) => &self.system_to_user,
                ("user", _) => &self.user_to_assistant,
                _ => &self.assistant_to_user,
            };
            let trims = match message.role {
                "system" => self.trims_system,
                _ => self.trims,
            };
            text += if trims {
                message.content.trim()
            } else {
                message.content
            };
            before = message.role;
        }
        text + &self.user_to_assistant
    }
}

#[derive(Clone, Copy)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

fn user(content: &str) -> Message<'_> {
    Message {
        role: "user",
        content,
    }
}

fn assistant(content: &str) -> Message<'_> {
    Message {
        role: "assistant",
        content,
    }
}

fn system(content: &str) -> Message<'_> {
    Message {
        role: "system",
        content,
    }
}

/// Conversations that tell templates apart which the questions did not.
fn conversations() -> Vec<Vec<Message<'static>>> {
    let (q, a) = (
        user("What is 2 + 2?"),
        assistant("4, {{ of }} course.\nReally."),
    );
    let spaced = user(" \n padded\t ");
    let s = system("You are \"kind\" <|x|>.");
    vec![
        vec![q],
        vec![s, q],
        vec![q, a, q],
        vec![s, q, a, user("好的"), a, q],
        vec![spaced],
        vec![system(" padded "), spaced, assistant(" padded\n"), spaced],
    ]
}

fn ask(
    template: &str,
    bos: &str,
    eos: &str,
    messages: &[Message<'_>],
    add_generation_prompt: bool,
) -> Option<String> {
    let message = |m: &Message<'_>| json!({"role": m.role, "content": m.content});
    let context = Context {
        messages: Json::Array(messages.iter().map(message).collect()),
        add_generation_prompt,
        bos_token: bos.to_owned(),
        eos_token: eos.to_owned(),
        ..Context::default()
    };
    render(template, &context).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    #[test]
    fn chatml_is_five_texts() {
        let turns = Turns::of(CHATML, "", "").unwrap();
        assert_eq!(turns.to_user, "<|im_start|>user\n");
        assert_eq!(turns.system_to_user, "<|im_end|>\n<|im_start|>user\n");
        assert_eq!(
            turns.user_to_assistant,
            "<|im_end|>\n<|im_start|>assistant\n"
        );
        assert!(!turns.trims);
        let section = turns.section();
        assert_eq!(section[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        let word = |at: usize| u32::from_le_bytes(section[at..at + 4].try_into().unwrap()) as usize;
        let (offset, length) = (word(8), word(12));
        assert_eq!(&section[offset..offset + length], turns.to_user.as_bytes());
        let last = word(40) + word(44);
        assert_eq!(last, section.len());
    }

    #[test]
    fn a_template_that_folds_the_system_message_is_five_texts_too() {
        let gemma = "{{ bos_token }}{% if messages[0].role == 'system' %}\
            {% set first = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}{% else %}\
            {% set first = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}\
            {% if m.role == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m.role %}\
            {% endif %}<start_of_turn>{{ role }}\n{{ first if loop.first else '' }}\
            {{ m.content | trim }}<end_of_turn>\n{% endfor %}\
            {% if add_generation_prompt %}<start_of_turn>model\n{% endif %}";
        let turns = Turns::of(gemma, "<bos>", "<eos>").unwrap();
        assert!(turns.trims && !turns.trims_system);
        assert_eq!(turns.to_system, "<bos><start_of_turn>user\n");
        assert_eq!(turns.system_to_user, "\n\n");
    }

    #[test]
    fn what_five_texts_cannot_say_is_no_table() {
        let counting = CHATML.replace("{{ m.role }}", "{{ m.role }}{{ loop.index }}");
        assert_eq!(Turns::of(&counting, "", ""), None);
        assert_eq!(Turns::of("{{ raise_exception('no') }}", "", ""), None);
        assert_eq!(Turns::of("{% broken", "", ""), None);
        let last = "{% for m in messages %}{{ m.role if loop.last else 'x' }}:{{ m.content }};{% endfor %}";
        assert_eq!(Turns::of(last, "", ""), None);
    }
}
