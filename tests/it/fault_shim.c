/* What a file system below FAULT_BELOW does to writes and syncs, by what the file FAULT_FILE says: "slow MS" makes each
   wait so long, "fail" lets one sync fail with EIO, after which the file is gone. Without that file: nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int fault(int fd, int sync) {
    char name[64], path[4096], text[32] = {0};
    const char *below = getenv("FAULT_BELOW"), *says = getenv("FAULT_FILE");
    if (!below || !says) return 0;
    int file = open(says, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long got = syscall(SYS_read, file, text, sizeof text - 1);
    close(file);
    if (got <= 0) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    long length = readlink(name, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    size_t of = strlen(below);
    if (strncmp(path, below, of) != 0 || path[of] != '/') return 0;
    if (strncmp(text, "slow ", 5) == 0) {
        long ms = atol(text + 5);
        struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&wait, NULL);
    }
    /* Whoever takes it away is the one that fails. */
    return sync && strncmp(text, "fail", 4) == 0 && unlink(says) == 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *from, size_t bytes) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = NEXT(write);
    fault(fd, 0);
    return real(fd, from, bytes);
}

ssize_t writev(int fd, const struct iovec *from, int pieces) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = NEXT(writev);
    fault(fd, 0);
    return real(fd, from, pieces);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = NEXT(fdatasync);
    if (!fault(fd, 1)) return real(fd);
    errno = EIO;
    return -1;
}
