/// Answers as asynchronous sequences: text as it is drawn; cancelling the task that iterates cancels the step under way.
///
/// Belongs into one module with the generated `Inkstone.swift`.
import Dispatch

extension Session {
    /// The text of an answer to what was fed, as it is drawn; nothing is drawn ahead of who iterates.
    public func tokens(_ options: AnswerOptions = AnswerOptions()) -> Tokens {
        Tokens(session: self, options: options)
    }
}

/// See ``Session/tokens(_:)``.
public struct Tokens: AsyncSequence {
    public typealias Element = String

    let session: Session
    let options: AnswerOptions

    public func makeAsyncIterator() -> Iterator {
        Iterator(session: session, options: options)
    }

    public struct Iterator: AsyncIteratorProtocol {
        let session: Session
        let options: AnswerOptions
        var answer: Answer?

        init(session: Session, options: AnswerOptions) {
            (self.session, self.options) = (session, options)
        }

        public mutating func next() async throws -> String? {
            let answer = try self.answer ?? session.answer(options: options)
            self.answer = answer
            while let piece = try await session.next(of: answer) {
                switch piece {
                case .token(_, let text), .finished(_, let text):
                    if !text.isEmpty { return text }
                case .prompt, .shifted:
                    continue
                }
            }
            return nil
        }
    }
}

extension Session {
    /// The next piece, computed on a thread that may block.
    func next(of answer: Answer) async throws -> Piece? {
        let piece = try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (done: CheckedContinuation<Piece?, any Error>) in
                DispatchQueue.global(qos: .userInitiated).async {
                    done.resume(with: Result { try answer.next() })
                }
            }
        } onCancel: {
            self.cancel()
        }
        if Task.isCancelled {
            // The step may have been over already: what follows is not meant.
            _ = uncancel()
            throw CancellationError()
        }
        return piece
    }
}
