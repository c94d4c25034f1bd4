// Records the errors that ROOT reports while it reads a part of the data: ROOT continues after most of them, and nobody
// reads the standard error of a Dask worker.
#ifndef PORTICO_RECORDER_H
#define PORTICO_RECORDER_H

#include <TError.h>

#include <mutex>
#include <string>

namespace portico {

struct Recorded {
  std::mutex mutex;
  std::string text;
  ErrorHandlerFunc_t before = nullptr;
};

inline Recorded &recorded() {
  static Recorded one;
  return one;
}

inline void Record(int level, Bool_t abort, const char *location, const char *message) {
  Recorded &kept = recorded();
  if (level >= kError) {
    const std::lock_guard<std::mutex> guard(kept.mutex);
    if (kept.text.size() < 65536)
      kept.text += std::string(level >= kSysError ? "SysError in <" : "Error in <") + location + ">: " + message + "\n";
  }
  if (kept.before) kept.before(level, abort, location, message);
}

inline void StartRecording() {
  const ErrorHandlerFunc_t now = GetErrorHandler();
  if (now == &Record) return;
  recorded().before = now;
  SetErrorHandler(&Record);
}

inline std::string TakeRecorded() {
  Recorded &kept = recorded();
  const std::lock_guard<std::mutex> guard(kept.mutex);
  std::string text;
  text.swap(kept.text);
  return text;
}

} // namespace portico

#endif
