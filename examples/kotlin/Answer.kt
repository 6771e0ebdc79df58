/** Asks a model and streams its answer: `java … AnswerKt MODEL.ink "Write one sentence about tea."` */

import inkstone.AnswerOptions
import inkstone.InkstoneException
import inkstone.Model
import inkstone.SessionConfig
import inkstone.tokens
import kotlin.system.exitProcess
import kotlinx.coroutines.runBlocking

fun main(arguments: Array<String>) = runBlocking {
    val (path, prompt) = arguments
    try {
        Model.open(path).use { model ->
            model.session(SessionConfig()).use { session ->
                if (model.hasTemplate()) session.promptChat(user(prompt)) else session.feedText(prompt)
                session.tokens(AnswerOptions(limit = 200u)).collect { text ->
                    print(text)
                    System.out.flush()
                }
                println()
            }
        }
    } catch (e: InkstoneException) {
        System.err.println("answer: ${e.message}")
        exitProcess(1)
    }
}

/** A conversation of one message, JSON. */
private fun user(text: String): String {
    val escaped = text.flatMap { c ->
        if (c < ' ' || c == '"' || c == '\\') "\\u%04x".format(c.code).toList() else listOf(c)
    }
    return """[{"role": "user", "content": "${escaped.joinToString("")}"}]"""
}
