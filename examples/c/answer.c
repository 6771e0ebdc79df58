/* One answer, streamed: answer MODEL.ink PROMPT. */
#include <inkstone.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The prompt as the only message of a conversation. */
static char *message(const char *prompt) {
  char *messages = malloc(6 * strlen(prompt) + 64), *to = messages;
  if (messages == NULL) exit(1);
  to += sprintf(to, "[{\"role\": \"user\", \"content\": \"");
  for (; *prompt; prompt++) {
    if ((unsigned char)*prompt < ' ') {
      to += sprintf(to, "\\u%04x", (unsigned)*prompt);
      continue;
    }
    if (*prompt == '"' || *prompt == '\\') *to++ = '\\';
    *to++ = *prompt;
  }
  strcpy(to, "\"}]");
  return messages;
}

/* The prompt's tokens: as a conversation where the model has a template for them. */
static uint32_t *tokens_of(const ink_model *model, const char *prompt, size_t *count) {
  ink_info info = {.struct_size = sizeof info};
  char *messages = message(prompt), *text = NULL;
  uint32_t *tokens;
  size_t size = strlen(prompt);
  if (ink_model_info(model, &info) != INK_OK) exit(1);
  if (info.has_template) {
    char error[256];
    int32_t status = ink_chat_render(model, messages, NULL, NULL, 0, &size, error, sizeof error);
    if (status != INK_TOO_SMALL) {
      fprintf(stderr, "%s\n", error);
      exit(1);
    }
    text = malloc(size);
    if (text == NULL || ink_chat_render(model, messages, NULL, text, size, &size, NULL, 0) != INK_OK) exit(1);
  }
  free(messages);
  if (ink_tokenize(model, text ? text : prompt, size, info.has_template, NULL, 0, count) != INK_TOO_SMALL) exit(1);
  tokens = malloc(*count * sizeof *tokens);
  if (tokens == NULL) exit(1);
  if (ink_tokenize(model, text ? text : prompt, size, info.has_template, tokens, *count, count) != INK_OK) exit(1);
  free(text);
  return tokens;
}

int main(int argc, char **argv) {
  char error[256];
  ink_model *model;
  ink_session *session;
  ink_event event = {.struct_size = sizeof event};
  ink_answer_options options = {.struct_size = sizeof options};
  ink_stats stats = {.struct_size = sizeof stats};
  uint32_t *tokens;
  size_t count;
  int32_t status;
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL.ink PROMPT\n", argv[0]);
    return 2;
  }
  if (ink_open(argv[1], &model, error, sizeof error) != INK_OK) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  tokens = tokens_of(model, argv[2], &count);
  status = ink_session_new(model, NULL, &session, error, sizeof error);
  ink_close(model);
  if (status != INK_OK) {
    fprintf(stderr, "%s\n", error);
    free(tokens);
    return 1;
  }
  options.limit = 60;
  status = ink_feed(session, tokens, count);
  if (status == INK_OK) status = ink_answer(session, &options);
  while (status == INK_OK && event.kind != INK_FINISHED) {
    status = ink_step(session, 20000, &event);
    if (status == INK_OK) fwrite(event.text, 1, event.text_size, stdout);
  }
  putchar('\n');
  if (status != INK_OK) fprintf(stderr, "%s: %s\n", ink_status_name(status), ink_error(session));
  if (ink_get_stats(session, &stats) == INK_OK)
    fprintf(stderr, "%u tokens, first after %.3f s\n", (unsigned)stats.tokens, stats.seconds_to_first);
  ink_session_free(session);
  free(tokens);
  return status == INK_OK ? 0 : 1;
}
