/* Shifts the wall clock of one process by the seconds that the file SKEW_FILE holds, read again every 50 ms.
   Monotonic clocks, sleeps and timeouts stay what they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000L

static double offset(void)
{
    static __thread double value;
    static __thread struct timespec read_at;
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long age = (now.tv_sec - read_at.tv_sec) * 1000 + (now.tv_nsec - read_at.tv_nsec) / 1000000;
    if (read_at.tv_sec == 0 || age > 50) {
        char text[64] = {0};
        const char *path = getenv("SKEW_FILE");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        read_at = now;
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0)
                value = atof(text);
            close(file);
        }
    }
    return value;
}

static void shift(struct timespec *time)
{
    double by = offset();
    long seconds = (long)by;
    time->tv_sec += seconds;
    time->tv_nsec += (long)((by - seconds) * 1e9);
    if (time->tv_nsec < 0) {
        time->tv_nsec += BILLION;
        time->tv_sec--;
    }
    if (time->tv_nsec >= BILLION) {
        time->tv_nsec -= BILLION;
        time->tv_sec++;
    }
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        shift(time);
    return result;
}

int gettimeofday(struct timeval *restrict value, void *restrict zone)
{
    struct timespec time;
    (void)zone;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &time);
    shift(&time);
    value->tv_sec = time.tv_sec;
    value->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &time);
    shift(&time);
    if (result)
        *result = time.tv_sec;
    return time.tv_sec;
}
