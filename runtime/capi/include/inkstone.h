/* Inkstone's C library: a .ink model in, tokens and text out.
 *
 * Every function that can fail returns an ink_status. None exits or throws, and none aborts but where the
 * system has no memory left. What makes an object puts NULL in its place where it fails. Structs begin with their
 * size, which the caller sets to sizeof: later versions append members, and read what an older caller has.
 *
 * A model may be used by any number of threads and sessions; a session by one thread at a time, but for ink_cancel.
 * A session keeps its model open: ink_close may be called first. Texts are UTF-8, lengths are bytes.
 *
 * `error` takes what went wrong, in a line that ends with a zero, cut to `error_size`; it may be NULL. Of a session's
 * functions ink_error tells it.
 */
#ifndef INKSTONE_H
#define INKSTONE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ink_model ink_model;
typedef struct ink_session ink_session;

typedef enum ink_status {
  INK_OK = 0,
  INK_NOT_FOUND = 1,      /* there is no such file */
  INK_NOT_A_MODEL = 2,    /* the file is something else; convert it first */
  INK_DAMAGED = 3,        /* the file is broken; get it again */
  INK_UNSUPPORTED = 4,    /* the file, the device or the option is nothing that this build can use */
  INK_MISMATCH = 5,       /* a saved session of another model, numerics or configuration */
  INK_CONTEXT_FULL = 6,   /* what is fed has no room left; ink_step tells INK_FULL */
  INK_REWIND_TOO_FAR = 7, /* further back than the configuration keeps */
  INK_CANCELLED = 8,      /* reserved: ink_step tells INK_WAS_CANCELLED, the session then stands as before it */
  INK_OUT_OF_MEMORY = 9,
  INK_INVALID = 10,       /* an argument is out of range, NULL, or no UTF-8 */
  INK_NOT_FINITE = 11,    /* the weights gave a logit that is not a finite number */
  INK_IO = 12,            /* reading or writing failed */
  INK_TOO_SMALL = 13,     /* the buffer is too small; the length that is needed was written */
  INK_INTERNAL = 14       /* a defect of the library; the session must be freed */
} ink_status;

typedef enum ink_kv { INK_KV_F16 = 0, INK_KV_INT8 = 1, INK_KV_INT4 = 2, INK_KV_F32 = 3 } ink_kv;

typedef struct ink_info {
  uint32_t struct_size;
  uint32_t vocabulary;
  uint32_t context; /* positions that the model was trained for */
  uint32_t layers;
  uint32_t width;
  uint32_t has_template; /* whether ink_chat_render works */
  uint64_t bytes;        /* of the mapped file */
  uint8_t id[32];        /* BLAKE3 of what the file holds */
} ink_info;

typedef enum ink_log_level { INK_LOG_ERROR = 0, INK_LOG_INFO = 1 } ink_log_level;

typedef enum ink_thermal {
  INK_NOMINAL = 0, /* all is well */
  INK_FAIR = 1,    /* warmer than it should stay for long */
  INK_SERIOUS = 2, /* hot: the system slows things down */
  INK_CRITICAL = 3 /* it must cool down now */
} ink_thermal;

typedef enum ink_pooling { INK_MEAN = 0, INK_LAST = 1, INK_FIRST = 2 } ink_pooling;

/* What the host does for the library, each NULL where the library does it itself. `context` is given to all; none may
   call the library or unwind. They are called within calls of the library, on the thread that made them; only
   `work`, and read_at of ink_open_stream, come to run on other threads. */
typedef struct ink_host {
  uint32_t struct_size;
  uint32_t reserved;
  void *context;
  void (*log)(void *context, int32_t level, const char *text); /* level: ink_log_level; the line ends with a zero */
  uint64_t (*clock)(void *context);                            /* microseconds, which only go forward */
  int32_t (*read_at)(void *context, uint64_t offset, void *to, size_t size); /* 0: all of it was read */
  /* Runs work(task, index) for each index below `workers`, at the same time, each on a thread of its own, and returns
     when all have returned: workers wait for each other. */
  void (*parallel)(void *context, uint32_t workers, void (*work)(void *task, uint32_t index), void *task);
  int32_t (*thermal)(void *context); /* ink_thermal: asked between steps; work, never what is drawn, follows it */
} ink_host;

/* Zeros are the usual choices. */
typedef struct ink_config {
  uint32_t struct_size;
  uint32_t context; /* positions; 0: what the model was trained for, at most 4096 */
  uint32_t threads; /* 0: one for each fast core; the caller's is one of them */
  uint32_t batch;   /* tokens of a prompt that are run at once; 0: 128 */
  uint32_t rewind;  /* positions that a session can always go back; 0: 64 */
  int32_t kv;       /* ink_kv */
  uint32_t plain;   /* 1: no tokens are guessed ahead */
  void *arena;      /* memory to compute in, at a multiple of 64, the session's alone until it is freed; NULL: its own */
  uint64_t arena_size; /* at least ink_plan_bytes.arena */
  const ink_host *host; /* what it does for the session until that is freed, or NULL; read once */
  uint32_t embeddings;  /* 1: for ink_embed and nothing else */
  uint32_t reserved;
} ink_config;

typedef struct ink_plan_bytes {
  uint32_t struct_size;
  uint32_t context;
  uint64_t mapped;   /* of the file, shared with other processes */
  uint64_t reserved; /* that ink_session_new takes */
  uint64_t kv;       /* of those, keys and values */
  uint64_t arena;    /* of those, what ink_config.arena can give instead */
} ink_plan_bytes;

/* Zeros draw the most probable token. */
typedef struct ink_sampling {
  uint32_t struct_size;
  uint32_t top_k; /* 0: off */
  uint64_t seed;
  float temperature;        /* 0: the most probable token */
  float top_p;              /* 0 or 1: off */
  float min_p;              /* 0: off */
  float repetition_penalty; /* 0 or 1: off */
} ink_sampling;

/* How an answer ends. */
typedef struct ink_answer_options {
  uint32_t struct_size;
  uint32_t limit;           /* tokens; 0: as many as the context holds */
  const char *stop;         /* a text that ends the answer, or NULL */
  const char *json_schema;  /* the answer is a document that this JSON Schema accepts, or NULL */
  const char *lark;         /* the answer is a text of this grammar, or NULL */
} ink_answer_options;

typedef enum ink_event_kind {
  INK_PROGRESS = 0, /* more of what was fed has been run; call again */
  INK_TOKEN = 1,    /* a token was drawn */
  INK_FINISHED = 2, /* the answer is over */
  INK_SHIFTED = 3   /* the context was full; what was dropped is in `done` */
} ink_event_kind;

typedef enum ink_finish {
  INK_NOT_FINISHED = 0,
  INK_STOP = 1,       /* a stop token was drawn */
  INK_STOP_TEXT = 2,  /* the text of ink_answer_options.stop was met */
  INK_LIMIT = 3,      /* as many tokens as were asked for */
  INK_FULL = 4,       /* the context is full */
  INK_WAS_CANCELLED = 5,
  INK_NOTHING_FED = 6
} ink_finish;

typedef struct ink_event {
  uint32_t struct_size;
  int32_t kind;   /* ink_event_kind */
  uint32_t token; /* of INK_TOKEN */
  int32_t finish; /* ink_finish, of INK_FINISHED */
  uint32_t done;  /* of INK_PROGRESS: tokens run */
  uint32_t total; /* of INK_PROGRESS: tokens in the sequence */
  const char *text; /* whole characters that are certain now, not ended by a zero; until the session's next call */
  size_t text_size;
} ink_event;

typedef struct ink_stats {
  uint32_t struct_size;
  uint32_t prompt_tokens;
  uint32_t tokens;
  uint32_t guessed;  /* tokens that were run as guesses */
  uint32_t accepted; /* those of them that were drawn */
  uint32_t reserved;
  double seconds_to_first;
  double seconds_after_first;
} ink_stats;

typedef struct ink_mark {
  uint32_t struct_size;
  uint32_t position;
} ink_mark;

/* --- the library ------------------------------------------------------------------------------------------------- */
const char *ink_version(void);
const char *ink_numerics(void); /* of the definition of every number, as files and saved sessions name it */
const char *ink_status_name(int32_t status);

/* --- models ------------------------------------------------------------------------------------------------------ */
int32_t ink_open(const char *path, ink_model **model, char *error, size_t error_size);
/* A file that lies in memory, at a multiple of 64: nothing is copied; it must stay until the model is closed and its
   sessions are freed. */
int32_t ink_open_memory(const void *bytes, size_t size, ink_model **model, char *error, size_t error_size);
/* `size` bytes of an open file from `offset` on, a multiple of 64, mapped; the file may be closed afterwards,
   and must not change while the model is open. Where
   there are no such files it is INK_UNSUPPORTED. */
int32_t ink_open_fd(int fd, uint64_t offset, uint64_t size, ink_model **model, char *error, size_t error_size);
/* A file of `size` bytes that host->read_at reads, once, in pieces, into memory of the model's own. */
int32_t ink_open_host(const ink_host *host, uint64_t size, ink_model **model, char *error, size_t error_size);
/* A file whose weights host->read_at reads whenever they are used, by whatever thread needs them, one call at a time;
   only what comes before them is kept in memory. The host stays until the model is closed and its sessions are freed.
   For devices with less memory than weights; takes no adapters and is not verified. */
int32_t ink_open_stream(const ink_host *host, uint64_t size, ink_model **model, char *error, size_t error_size);
/* The model with an adapter's file beside those it has, scaled; 0 is 1. Both models share the mapping, and any number
   of adapters can be attached to one; to detach them, close the model that was made and use the first. */
int32_t ink_attach(const ink_model *model, const char *adapter, float scale, ink_model **attached, char *error,
                   size_t error_size);
void ink_close(ink_model *model); /* NULL is nothing to close */
int32_t ink_verify(const ink_model *model, char *error, size_t error_size); /* reads all of the file */
int32_t ink_model_info(const ink_model *model, ink_info *info);
int32_t ink_plan(const ink_model *model, const ink_config *config, ink_plan_bytes *plan, char *error, size_t error_size);

/* --- text; `count` and `size` take what is there, or needed where it is INK_TOO_SMALL --------------------------------- */
int32_t ink_tokenize(const ink_model *model, const char *text, size_t text_size, uint32_t special, uint32_t *tokens,
                     size_t capacity, size_t *count); /* special: 1 where names of control tokens are those tokens */
int32_t ink_detokenize(const ink_model *model, const uint32_t *tokens, size_t count, char *text, size_t capacity,
                       size_t *size);
int32_t ink_chat_render(const ink_model *model, const char *messages_json, const char *tools_json, char *text,
                        size_t capacity, size_t *size, char *error, size_t error_size); /* tools_json may be NULL */

/* --- sessions ---------------------------------------------------------------------------------------------------- */
int32_t ink_session_new(const ink_model *model, const ink_config *config, ink_session **session, char *error,
                        size_t error_size); /* config may be NULL */
void ink_session_free(ink_session *session);
const char *ink_error(const ink_session *session); /* of the last call that failed */
int32_t ink_set_sampling(ink_session *session, const ink_sampling *sampling);
int32_t ink_feed(ink_session *session, const uint32_t *tokens, size_t count);
int32_t ink_prompt(ink_session *session, const uint32_t *tokens, size_t count, uint32_t *kept); /* all of it; keeps what is the same */
int32_t ink_answer(ink_session *session, const ink_answer_options *options); /* begins an answer; options may be NULL; without it, what is fed is answered with the usual ones */
int32_t ink_step(ink_session *session, uint64_t budget_us, ink_event *event); /* until something happened, or as long as said and to the end of the chunk of `batch` tokens; 0: one chunk */
void ink_cancel(const ink_session *session); /* from any thread */
int32_t ink_uncancel(ink_session *session); /* takes back what no step has seen */
uint32_t ink_position(const ink_session *session);
int32_t ink_get_stats(const ink_session *session, ink_stats *stats); /* of the answer */
int32_t ink_get_mark(const ink_session *session, ink_mark *mark);
int32_t ink_rewind(ink_session *session, const ink_mark *mark);
int32_t ink_fork(ink_session *session, ink_session **other); /* without what host and arena it has */
int32_t ink_save(ink_session *session, const char *path);
int32_t ink_load(ink_session *session, const char *path);
/* The vector of a text, of length 1, as wide as the model; of a session for embeddings. pooling: ink_pooling. `count`
   takes its width. */
int32_t ink_embed(ink_session *session, const uint32_t *tokens, size_t tokens_count, int32_t pooling, float *vector,
                  size_t capacity, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
