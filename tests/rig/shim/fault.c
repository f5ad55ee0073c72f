/*
 * Makes chosen system calls of an unmodified program fail (LD_PRELOAD).
 *
 *   FAULT_CALL          which calls, by comma: open pread write pwrite writev pwritev fdatasync fsync sync_file_range
 *                       rename link unlink ftruncate fallocate
 *   FAULT_PATH          which files: a prefix of the absolute path, or a glob if it holds one of * ? [
 *   FAULT_NTH           which of the matching calls fails, from 1 (default 1)
 *   FAULT_STICKY        1: all later ones fail too (default 0)
 *   FAULT_ERRNO         EIO (default), ENOSPC, EROFS or EDQUOT
 *   FAULT_SHORT         1: a write does only half of its work instead of failing
 *   FAULT_HANG          1: a call waits until FAULT_TRIGGER_FILE is gone instead of failing, as on a disk that hangs
 *   FAULT_TRIGGER_FILE  if set: nothing is counted or failed unless this file exists
 *   FAULT_CLOCK         if set: a file with the seconds by which the wall clock is wrong; the monotonic one is not
 *   FAULT_LOG           if set: each injected failure appends a line "N CALL PATH"
 *
 * Only calls through libc are seen; that is what RocksDB and Rust's standard library make. A failing call does nothing:
 * a failing fdatasync has synced nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_long matched;

/* Is NAME one of the comma-separated words of FAULT_CALL? */
static int call_chosen(const char *name) {
    const char *list = getenv("FAULT_CALL");
    size_t length = strlen(name);
    for (const char *at = list; at && (at = strstr(at, name)); at += length) {
        int starts = at == list || at[-1] == ',';
        int ends = at[length] == '\0' || at[length] == ',';
        if (starts && ends) return 1;
    }
    return 0;
}

static int path_chosen(const char *path) {
    const char *pattern = getenv("FAULT_PATH");
    if (!pattern || !*pattern) return 1;
    if (strpbrk(pattern, "*?[")) return fnmatch(pattern, path, 0) == 0;
    return strncmp(path, pattern, strlen(pattern)) == 0;
}

/* Written with raw calls, so that the shim never counts or fails its own work. */
static void note(long count, const char *name, const char *path) {
    const char *log = getenv("FAULT_LOG");
    if (!log) return;
    char line[4200];
    int length = snprintf(line, sizeof line, "%ld %s %s\n", count, name, path);
    long fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, (size_t)(length < (int)sizeof line ? length : (int)sizeof line - 1));
    syscall(SYS_close, fd);
}

static int error_number(void) {
    const char *name = getenv("FAULT_ERRNO");
    if (name && !strcmp(name, "ENOSPC")) return ENOSPC;
    if (name && !strcmp(name, "EROFS")) return EROFS;
    if (name && !strcmp(name, "EDQUOT")) return EDQUOT;
    return EIO;
}

/* Waits until TRIGGER is gone, if that is wanted. Says whether it was. */
static int hang(const char *trigger) {
    const char *text = getenv("FAULT_HANG");
    if (!text || *text != '1' || !trigger) return 0;
    while (syscall(SYS_faccessat, AT_FDCWD, trigger, F_OK) == 0) usleep(10000);
    return 1;
}

/* Decides about one call on PATH. */
static int strikes(const char *name, const char *path) {
    const char *trigger = getenv("FAULT_TRIGGER_FILE"), *nth = getenv("FAULT_NTH"), *sticky = getenv("FAULT_STICKY");
    if (!path_chosen(path)) return 0;
    if (trigger && syscall(SYS_faccessat, AT_FDCWD, trigger, F_OK) != 0) return 0;
    long count = atomic_fetch_add(&matched, 1) + 1, wanted = nth ? atol(nth) : 1;
    int hit = count == wanted || (sticky && *sticky == '1' && count > wanted);
    if (hit) note(count, name, path);
    return hit && hang(trigger) ? 0 : hit;
}

/* The same for a relative or absolute name; errno is left as it was. */
static int strikes_name(const char *name, int dir, const char *path) {
    if (!call_chosen(name) || !path) return 0;
    int kept = errno, hit;
    char whole[4096], link[64], base[2048];
    if (*path != '/') {
        if (dir == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t length = readlink(link, base, sizeof base - 1);
        base[length > 0 ? length : 0] = '\0';
        snprintf(whole, sizeof whole, "%s/%s", base, path);
        path = whole;
    }
    hit = strikes(name, path);
    errno = hit ? error_number() : kept;
    return hit;
}

static int strikes_fd(const char *name, int fd) {
    if (!call_chosen(name)) return 0;
    int kept = errno, hit;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    hit = length > 0 && *path == '/' && strikes(name, path);
    errno = hit ? error_number() : kept;
    return hit;
}

static int is_short(void) {
    const char *text = getenv("FAULT_SHORT");
    return text && *text == '1';
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define WRITER(symbol, chosen, params, types, args, count)                     \
    ssize_t symbol params {                                                    \
        if (strikes_fd(chosen, fd)) {                                          \
            if (!is_short()) return -1;                                        \
            count = count > 1 ? count / 2 : count;                             \
        }                                                                      \
        static ssize_t(*real) types;                                           \
        if (!real) real = (ssize_t(*) types)dlsym(RTLD_NEXT, #symbol);         \
        return real args;                                                      \
    }

WRITER(write, "write", (int fd, const void *data, size_t bytes), (int, const void *, size_t), (fd, data, bytes), bytes)
WRITER(pwrite, "pwrite", (int fd, const void *data, size_t bytes, off_t at), (int, const void *, size_t, off_t),
       (fd, data, bytes, at), bytes)
WRITER(pwrite64, "pwrite", (int fd, const void *data, size_t bytes, off64_t at), (int, const void *, size_t, off64_t),
       (fd, data, bytes, at), bytes)
WRITER(writev, "writev", (int fd, const struct iovec *parts, int count), (int, const struct iovec *, int),
       (fd, parts, count), count)
WRITER(pwritev, "pwritev", (int fd, const struct iovec *parts, int count, off_t at),
       (int, const struct iovec *, int, off_t), (fd, parts, count, at), count)

/* Reading at a place, as RocksDB reads its tables, is the same but for the direction. */
WRITER(pread, "pread", (int fd, void *data, size_t bytes, off_t at), (int, void *, size_t, off_t), (fd, data, bytes, at),
       bytes)
WRITER(pread64, "pread", (int fd, void *data, size_t bytes, off64_t at), (int, void *, size_t, off64_t),
       (fd, data, bytes, at), bytes)

#define CALL_FD(symbol, chosen, params, types, args)                           \
    int symbol params {                                                        \
        if (strikes_fd(chosen, fd)) return -1;                                 \
        static int(*real) types;                                               \
        if (!real) real = (int(*) types)dlsym(RTLD_NEXT, #symbol);             \
        return real args;                                                      \
    }

CALL_FD(fdatasync, "fdatasync", (int fd), (int), (fd))
CALL_FD(fsync, "fsync", (int fd), (int), (fd))
CALL_FD(ftruncate, "ftruncate", (int fd, off_t to), (int, off_t), (fd, to))
CALL_FD(ftruncate64, "ftruncate", (int fd, off64_t to), (int, off64_t), (fd, to))
CALL_FD(fallocate, "fallocate", (int fd, int mode, off_t at, off_t bytes), (int, int, off_t, off_t),
        (fd, mode, at, bytes))
CALL_FD(fallocate64, "fallocate", (int fd, int mode, off64_t at, off64_t bytes), (int, int, off64_t, off64_t),
        (fd, mode, at, bytes))
CALL_FD(sync_file_range, "sync_file_range", (int fd, off64_t at, off64_t bytes, unsigned flags),
        (int, off64_t, off64_t, unsigned), (fd, at, bytes, flags))

/* posix_fallocate returns its error instead of setting errno. */
int posix_fallocate(int fd, off_t at, off_t bytes) {
    if (strikes_fd("fallocate", fd)) return errno;
    return REAL(int, "posix_fallocate", int, off_t, off_t)(fd, at, bytes);
}

#define CALL_NAME(symbol, chosen, dir, path, params, types, args)              \
    int symbol params {                                                        \
        if (strikes_name(chosen, dir, path)) return -1;                        \
        static int(*real) types;                                               \
        if (!real) real = (int(*) types)dlsym(RTLD_NEXT, #symbol);             \
        return real args;                                                      \
    }

/* A rename or link is matched by its new name. */
CALL_NAME(rename, "rename", AT_FDCWD, to, (const char *from, const char *to), (const char *, const char *), (from, to))
CALL_NAME(renameat, "rename", dir, to, (int old, const char *from, int dir, const char *to),
          (int, const char *, int, const char *), (old, from, dir, to))
CALL_NAME(renameat2, "rename", dir, to, (int old, const char *from, int dir, const char *to, unsigned flags),
          (int, const char *, int, const char *, unsigned), (old, from, dir, to, flags))
CALL_NAME(link, "link", AT_FDCWD, to, (const char *from, const char *to), (const char *, const char *), (from, to))
CALL_NAME(linkat, "link", dir, to, (int old, const char *from, int dir, const char *to, int flags),
          (int, const char *, int, const char *, int), (old, from, dir, to, flags))
CALL_NAME(unlink, "unlink", AT_FDCWD, path, (const char *path), (const char *), (path))

/* The mode is passed on whether or not it was given: the kernel ignores it where it does not apply. */
#define OPEN(symbol, dir, params, types, args)                                 \
    int symbol params {                                                        \
        va_list more;                                                          \
        va_start(more, flags);                                                 \
        unsigned mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, unsigned) : 0; \
        va_end(more);                                                          \
        if (strikes_name("open", dir, path)) return -1;                        \
        static int(*real) types;                                               \
        if (!real) real = (int(*) types)dlsym(RTLD_NEXT, #symbol);             \
        return real args;                                                      \
    }

OPEN(open, AT_FDCWD, (const char *path, int flags, ...), (const char *, int, ...), (path, flags, mode))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), (const char *, int, ...), (path, flags, mode))
OPEN(openat, dir, (int dir, const char *path, int flags, ...), (int, const char *, int, ...), (dir, path, flags, mode))
OPEN(openat64, dir, (int dir, const char *path, int flags, ...), (int, const char *, int, ...), (dir, path, flags, mode))

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    const char *file = getenv("FAULT_CLOCK");
    if (failed || clock != CLOCK_REALTIME || !file) return failed;
    int kept = errno;
    char text[32] = "";
    long fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        syscall(SYS_read, fd, text, sizeof text - 1);
        syscall(SYS_close, fd);
        now->tv_sec += atol(text);
    }
    errno = kept;
    return 0;
}
