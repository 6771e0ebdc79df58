/** Checks the bindings on the JVM: `java … CheckKt MODEL.ink TEXT`, where TEXT is a file with what the program prints. */

import inkstone.AnswerOptions
import inkstone.Finish
import inkstone.InkstoneException
import inkstone.Model
import inkstone.Piece
import inkstone.Session
import inkstone.SessionConfig
import inkstone.pieces
import inkstone.tokens
import java.io.File
import kotlin.system.measureTimeMillis
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.last
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

private const val PROMPT = "Once upon a time"

fun main(arguments: Array<String>) = runBlocking {
    val (path, printed) = arguments
    Model.open(path).use { model ->
        streamsWhatTheProgramPrints(model, File(printed).readText())
        cancellingTheCoroutineCancelsTheStep(model, this)
        nothingIsDrawnAheadOfTheCollector(model)
        failuresHaveTypes(model)
        logitsAreThere(model)
    }
    println("5 passed, 0 failed")
}

private suspend fun streamsWhatTheProgramPrints(model: Model, printed: String) = fed(model) { session ->
    val texts = session.tokens(AnswerOptions(limit = 64u)).toList()
    check(texts.size > 16) { "only ${texts.size} texts" }
    check(texts.joinToString("").trim() == printed.trim()) { "another text: $texts" }
}

private suspend fun cancellingTheCoroutineCancelsTheStep(model: Model, scope: CoroutineScope) {
    val config = SessionConfig(shiftKeep = 8u)
    fed(model, config) { session ->
        var drawn = 0
        val endless = scope.launch(Dispatchers.Default) {
            session.tokens(AnswerOptions(ignoreStops = true)).collect { drawn++ }
        }
        while (drawn == 0) delay(1)
        val waited = measureTimeMillis { endless.cancelAndJoin() }
        check(endless.isCancelled && waited < 2000) { "cancelled after $waited ms" }
        check(!session.uncancel()) { "a cancel is left over" }
        val finished = session.pieces(AnswerOptions(limit = 4u)).last()
        check(finished is Piece.Finished && finished.finish == Finish.LIMIT) { "the session goes on: $finished" }
    }
}

private suspend fun nothingIsDrawnAheadOfTheCollector(model: Model) = fed(model) { session ->
    val before = session.position()
    session.pieces().take(6).toList().filterIsInstance<Piece.Token>().let { drawn ->
        check(session.position() == before + drawn.size.toUInt()) { "${session.position()}" }
    }
}

private suspend fun failuresHaveTypes(model: Model) = fed(model) { session ->
    expect<InkstoneException.NotFound> { Model.open("nowhere.ink") }
    expect<InkstoneException.Invalid> { session.feed(listOf(model.vocabulary())) }
    expect<InkstoneException.Unsupported> { session.promptChat("[]") }
}

private suspend fun logitsAreThere(model: Model) = fed(model) { session ->
    val logits = session.logits()
    check(logits.size.toUInt() == model.vocabulary() && logits.all { it.isFinite() }) { "$logits" }
}

/** Runs a check on a session that was fed the prompt. */
private suspend fun fed(model: Model, config: SessionConfig = SessionConfig(), check: suspend (Session) -> Unit) {
    model.session(config).use { session ->
        session.feedText(PROMPT)
        check(session)
    }
}

private inline fun <reified Failure : InkstoneException> expect(call: () -> Unit) {
    try {
        call()
    } catch (e: InkstoneException) {
        check(e is Failure && !e.message.isNullOrEmpty()) { "$e" }
        return
    }
    error("no ${Failure::class.simpleName}")
}
