/* Preloaded into every program of a server; the one that loads the model, "ollama runner", waits before it does so. It waits for
   $BED_LOAD_SECONDS, or until the file /run/bed/loaded is there. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__attribute__((constructor)) static void wait_for_the_model(void) {
  char line[4096];
  const char *seconds = getenv("BED_LOAD_SECONDS");
  int file = open("/proc/self/cmdline", O_RDONLY);
  ssize_t length = file < 0 ? 0 : read(file, line, sizeof line - 1);
  if (file >= 0) close(file);
  if (!seconds || length <= 0) return;
  line[length] = 0;
  const char *word = line + strlen(line) + 1;
  if (word >= line + length || strcmp(word, "runner")) return;
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    if (!access("/run/bed/loaded", F_OK)) return;
    usleep(20000);
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < atoi(seconds) * 1000L);
}
