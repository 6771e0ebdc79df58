/// Asks a model and streams its answer: `answer MODEL.ink "Write one sentence about tea."`
import Foundation

@main
struct Main {
    static func main() async {
        guard CommandLine.arguments.count == 3 else {
            return fail("usage: answer MODEL.ink PROMPT")
        }
        do {
            try await answer(path: CommandLine.arguments[1], prompt: CommandLine.arguments[2])
        } catch {
            fail("answer: \(error.localizedDescription)")
        }
    }

    static func answer(path: String, prompt: String) async throws {
        let model = try Model.open(path: path)
        let session = try model.session(config: SessionConfig())
        if model.hasTemplate() {
            _ = try session.promptChat(messagesJson: try user(prompt))
        } else {
            try session.feedText(text: prompt)
        }
        for try await text in session.tokens(AnswerOptions(limit: 200)) {
            print(text, terminator: "")
            fflush(stdout)
        }
        print()
    }

    /// A conversation of one message, JSON.
    static func user(_ text: String) throws -> String {
        let messages = [["role": "user", "content": text]]
        return String(decoding: try JSONEncoder().encode(messages), as: UTF8.self)
    }

    static func fail(_ line: String) {
        FileHandle.standardError.write(Data((line + "\n").utf8))
        exit(1)
    }
}
