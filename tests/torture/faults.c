// A library that is loaded into workerd, and makes its storage fail or its clock step.
//
// The suite writes to the file that TORTURE_FAULTS names: an errno for each write and sync of a file, or 0; and the
// milliseconds by which the clock differs from the right time. It needs Linux and a C compiler.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control {
  int64_t fault;
  int64_t clock_ms;
};

static struct control none;
static volatile struct control *control = &none;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("TORTURE_FAULTS");
  if (path == NULL) return;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void *map = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (map != MAP_FAILED) control = map;
}

// Sockets and pipes work on.
static int fails(int file) {
  struct stat stat;
  if (control->fault == 0 || fstat(file, &stat) != 0 || !S_ISREG(stat.st_mode)) return 0;
  errno = (int)control->fault;
  return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) {
  return fails(file) ? -1 : REAL(pwrite64)(file, from, size, at);
}

ssize_t pwrite(int file, const void *from, size_t size, off_t at) {
  return fails(file) ? -1 : REAL(pwrite)(file, from, size, at);
}

int fdatasync(int file) { return fails(file) ? -1 : REAL(fdatasync)(file); }

int fsync(int file) { return fails(file) ? -1 : REAL(fsync)(file); }

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = REAL(clock_gettime)(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) {
    int64_t ns = (int64_t)time->tv_nsec + control->clock_ms % 1000 * 1000000;
    time->tv_sec += control->clock_ms / 1000;
    if (ns >= 1000000000) {
      ns -= 1000000000;
      time->tv_sec += 1;
    } else if (ns < 0) {
      ns += 1000000000;
      time->tv_sec -= 1;
    }
    time->tv_nsec = ns;
  }
  return result;
}
