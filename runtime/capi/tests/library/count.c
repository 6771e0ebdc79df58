/* Counts what is allocated between ink_session_new and the session's end, with a caller's arena: by whatever thread, of
 * the library or of the C library. */
#define _GNU_SOURCE
#include <inkstone.h>
#include <stdio.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static volatile int counting;
static volatile unsigned count;

static void counted(void) {
  if (counting) __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
}
void *malloc(size_t size) {
  counted();
  return __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
  counted();
  return __libc_calloc(n, size);
}
void *realloc(void *old, size_t size) {
  counted();
  return __libc_realloc(old, size);
}
void *memalign(size_t alignment, size_t size) {
  counted();
  return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  counted();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void **to, size_t alignment, size_t size) {
  counted();
  *to = __libc_memalign(alignment, size);
  return *to ? 0 : 12;
}

static int check(int32_t status, const char *what) {
  if (status == INK_OK) return 0;
  fprintf(stderr, "%s: %s\n", what, ink_status_name(status));
  return 1;
}

int main(int argc, char **argv) {
  ink_model *model;
  ink_session *session;
  char error[200] = "";
  if (argc != 2 || check(ink_open(argv[1], &model, error, sizeof error), error)) return 1;
  ink_config config = {.struct_size = sizeof config};
  config.context = 200;
  config.batch = 8;
  config.threads = 2;
  ink_plan_bytes plan = {.struct_size = sizeof plan};
  if (check(ink_plan(model, &config, &plan, error, sizeof error), error)) return 1;
  void *arena;
  if (posix_memalign(&arena, 64, (size_t)plan.arena)) return 1;
  config.arena = arena;
  config.arena_size = plan.arena;
  unsigned drawn = 0, all = 0;
  counting = 1;
  void *volatile seen = malloc(1); /* so that a count that cannot count is found out */
  counting = 0;
  free(seen);
  if (count != 1) return 2;
  if (check(ink_session_new(model, &config, &session, error, sizeof error), error)) return 1;
  ink_answer_options options = {.struct_size = sizeof options};
  options.limit = 40;
  if (check(ink_answer(session, &options), "answer")) return 1;
  count = 0;
  counting = 1;
  uint32_t tokens[20];
  for (uint32_t i = 0; i < 20; i++) tokens[i] = i + 60;
  if (ink_feed(session, tokens, 20)) return 3;
  ink_event event = {.struct_size = sizeof event};
  do {
    if (ink_step(session, 1000, &event)) return 4;
    drawn += event.kind == INK_TOKEN;
    all++;
  } while (event.kind != INK_FINISHED);
  ink_mark mark = {.struct_size = sizeof mark};
  ink_stats stats = {.struct_size = sizeof stats};
  if (ink_get_mark(session, &mark) || ink_get_stats(session, &stats)) return 5;
  mark.position = 10;
  if (ink_rewind(session, &mark)) return 6;
  counting = 0;
  printf("%u tokens in %u steps, %u allocations\n", drawn, all, count);
  ink_session_free(session);
  ink_close(model);
  free(arena);
  return drawn == 0 || count != 0;
}
