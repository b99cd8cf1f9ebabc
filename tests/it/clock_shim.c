/* Sets the clock of one process: clock_gettime(CLOCK_REALTIME) plus the seconds that a file says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, at);
    if (id != CLOCK_REALTIME || done != 0) return done;
    int file = open(getenv("CLOCK_STEP_FILE"), O_RDONLY | O_CLOEXEC);
    char text[32] = {0};
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atol(text);
        close(file);
    }
    return done;
}
