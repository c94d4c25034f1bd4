/* Makes calls of the system fail, as broken disks and file systems without locks do.

   FAULTY is a list of CALL:ERRNO or CALL@PART:ERRNO, separated by spaces: CALL is one of flock, lock (of fcntl), read,
   write, sync, rename, and PART a part of the path of the file. FAULTY_AFTER is how many such calls succeed first,
   FAULTY_TIMES how many fail then, all by default. With 0 as number the process is killed instead.

   FAULTY_JUMP is by how many seconds the clock of the machine jumps, after FAULTY_AFTER times of asking it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int left = -1, times = -1, asked = 0;

static int number_of(const char* name, int otherwise) {
    const char* text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int fails(const char* call, int file, const char* name) {
    const char* rules = getenv("FAULTY");
    if (!rules) return 0;
    char path[PATH_MAX] = "", link[64], copy[4096];
    if (name) {
        snprintf(path, sizeof path, "%s", name);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) path[length] = 0;
    }
    snprintf(copy, sizeof copy, "%s", rules);
    char* save = NULL;
    for (char* rule = strtok_r(copy, " ", &save); rule; rule = strtok_r(NULL, " ", &save)) {
        char* number = strrchr(rule, ':');
        if (!number) continue;
        *number = 0;
        char* part = strchr(rule, '@');
        if (part) *part++ = 0;
        if (strcmp(rule, call) || (part && !strstr(path, part))) continue;
        if (left < 0) {
            left = number_of("FAULTY_AFTER", 0);
            times = number_of("FAULTY_TIMES", INT_MAX);
        }
        if (left > 0) {
            left--;
            return 0;
        }
        if (times-- <= 0) {
            times = 0;
            return 0;
        }
        errno = atoi(number + 1);
        if (!errno) kill(getpid(), SIGKILL);
        return 1;
    }
    return 0;
}

#define REAL(name, ...) ((__VA_ARGS__) dlsym(RTLD_NEXT, name))

int flock(int file, int how) {
    return fails("flock", file, NULL) ? -1 : REAL("flock", int (*)(int, int))(file, how);
}

static int is_lock(int what) { return what == F_SETLK || what == F_SETLKW || what == F_GETLK; }

int fcntl(int file, int what, ...) {
    va_list list;
    va_start(list, what);
    void* argument = va_arg(list, void*);
    va_end(list);
    if (is_lock(what) && fails("lock", file, NULL)) return -1;
    return REAL("fcntl", int (*)(int, int, ...))(file, what, argument);
}

int fcntl64(int file, int what, ...) {
    va_list list;
    va_start(list, what);
    void* argument = va_arg(list, void*);
    va_end(list);
    if (is_lock(what) && fails("lock", file, NULL)) return -1;
    return REAL("fcntl64", int (*)(int, int, ...))(file, what, argument);
}

ssize_t read(int file, void* to, size_t count) {
    return fails("read", file, NULL) ? -1 : REAL("read", ssize_t (*)(int, void*, size_t))(file, to, count);
}

ssize_t pread(int file, void* to, size_t count, off_t at) {
    return fails("read", file, NULL) ? -1 : REAL("pread", ssize_t (*)(int, void*, size_t, off_t))(file, to, count, at);
}

ssize_t pread64(int file, void* to, size_t count, off64_t at) {
    return fails("read", file, NULL) ? -1
                                     : REAL("pread64", ssize_t (*)(int, void*, size_t, off64_t))(file, to, count, at);
}

ssize_t write(int file, const void* from, size_t count) {
    return fails("write", file, NULL) ? -1 : REAL("write", ssize_t (*)(int, const void*, size_t))(file, from, count);
}

ssize_t pwrite(int file, const void* from, size_t count, off_t at) {
    return fails("write", file, NULL) ? -1
                                      : REAL("pwrite", ssize_t (*)(int, const void*, size_t, off_t))(file, from, count, at);
}

ssize_t pwrite64(int file, const void* from, size_t count, off64_t at) {
    return fails("write", file, NULL)
               ? -1
               : REAL("pwrite64", ssize_t (*)(int, const void*, size_t, off64_t))(file, from, count, at);
}

int fsync(int file) { return fails("sync", file, NULL) ? -1 : REAL("fsync", int (*)(int))(file); }

int fdatasync(int file) { return fails("sync", file, NULL) ? -1 : REAL("fdatasync", int (*)(int))(file); }

int rename(const char* from, const char* to) {
    return fails("rename", -1, to) ? -1 : REAL("rename", int (*)(const char*, const char*))(from, to);
}

int clock_gettime(clockid_t which, struct timespec* now) {
    int status = REAL("clock_gettime", int (*)(clockid_t, struct timespec*))(which, now);
    if (which == CLOCK_REALTIME && getenv("FAULTY_JUMP") && asked++ >= number_of("FAULTY_AFTER", 0))
        now->tv_sec += number_of("FAULTY_JUMP", 0);
    return status;
}
