// The same from C++: one answer, streamed: answer-cpp MODEL.ink TEXT.
#include <inkstone.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

struct Close {
  void operator()(ink_model *model) const { ink_close(model); }
  void operator()(ink_session *session) const { ink_session_free(session); }
};

static void check(int32_t status, const char *text) {
  if (status != INK_OK) throw std::runtime_error(text);
}

int main(int argc, char **argv) try {
  if (argc < 3) throw std::runtime_error("usage: answer-cpp MODEL.ink TEXT");
  char error[256];
  ink_model *opened = nullptr;
  check(ink_open(argv[1], &opened, error, sizeof error), error);
  std::unique_ptr<ink_model, Close> model(opened);
  std::size_t count = 0;
  ink_tokenize(model.get(), argv[2], std::strlen(argv[2]), 0, nullptr, 0, &count);
  std::vector<uint32_t> tokens(count);
  check(ink_tokenize(model.get(), argv[2], std::strlen(argv[2]), 0, tokens.data(), count, &count), "no UTF-8");
  ink_session *made = nullptr;
  check(ink_session_new(model.get(), nullptr, &made, error, sizeof error), error);
  std::unique_ptr<ink_session, Close> session(made);
  check(ink_feed(made, tokens.data(), tokens.size()), ink_error(made));
  ink_answer_options options{};
  options.struct_size = sizeof options;
  options.limit = 60;
  check(ink_answer(made, &options), ink_error(made));
  ink_event event{};
  event.struct_size = sizeof event;
  while (event.kind != INK_FINISHED) {
    check(ink_step(made, 20000, &event), ink_error(made));
    std::fwrite(event.text, 1, event.text_size, stdout);
  }
  std::putchar('\n');
  return 0;
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
