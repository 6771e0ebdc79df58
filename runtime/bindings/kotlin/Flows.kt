/** Answers as flows: text as it is drawn; cancelling the coroutine that collects it cancels the step under way. */
package inkstone

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.async
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.mapNotNull
import kotlinx.coroutines.withContext

/** The text of an answer to what was fed, as it is drawn; nothing is drawn ahead of the collector. */
fun Session.tokens(options: AnswerOptions = AnswerOptions()): Flow<String> = pieces(options).mapNotNull { it.text }

/** As [tokens], with the progress of the prompt and why the answer is over. */
fun Session.pieces(options: AnswerOptions = AnswerOptions()): Flow<Piece> = flow {
    answer(options).use { answer ->
        while (true) emit(next(answer) ?: break)
    }
}

/** Text that came with a piece, if any. */
val Piece.text: String?
    get() = when (this) {
        is Piece.Token -> text
        is Piece.Finished -> text
        is Piece.Prompt, is Piece.Shifted -> null
    }?.ifEmpty { null }

private suspend fun Session.next(answer: Answer): Piece? = coroutineScope {
    val step = async(Dispatchers.IO) { answer.next() }
    try {
        step.await()
    } catch (e: CancellationException) {
        cancel()
        withContext(NonCancellable) { step.join() }
        // The step may have been over already: what follows is not meant.
        uncancel()
        throw e
    }
}
