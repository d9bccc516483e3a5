// SPDX-License-Identifier: Apache-2.0
/*
 * Connects as it is told, one order a line, and prints what came of it as one line of JSON. Each
 * path is a function of its own, so that its stack tells who opened the connection.
 *
 *   connect PATH HOW HOST PORT COUNT TIMEOUT_MS    PATH: a, b; HOW: block, poll. Closed again at
 *                                                  once
 *   hold PATH HOST PORT     connects and keeps it
 *   begin PATH HOST PORT    begins to connect, does not wait, keeps it
 *   send PATH BYTES         on the connection of `hold`, from a thread that opened none
 *   give PATH               passes that connection to a child by SCM_RIGHTS and closes it here
 *   fork PATH BYTES         a child sends them on that connection and ends
 *   listen PORT             accepts in a thread of its own, reads what comes to its end, closes
 *   prefork PORT COUNT      listens; so many children accept and echo, one connection at a time
 *   queue PORT              listens and accepts nothing
 *   close                   what is held
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_ERRORS 200

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

struct peer {
  struct sockaddr_storage address;
  socklen_t length;
};

static struct peer parse(const char* host, int port) {
  struct peer peer = {};
  struct sockaddr_in* v4 = (struct sockaddr_in*)&peer.address;
  struct sockaddr_in6* v6 = (struct sockaddr_in6*)&peer.address;
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    peer.length = sizeof(*v4);
  } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    peer.length = sizeof(*v6);
  } else {
    fprintf(stderr, "bad host %s\n", host);
    exit(1);
  }
  return peer;
}

static int open_socket(const struct peer* peer) {
  int fd = socket(peer->address.ss_family, SOCK_STREAM, 0);
  if (fd < 0) {
    perror("socket");
    exit(1);
  }
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
  return fd;
}

/* Both return 0 or the errno; -1: given up after the time. */
__attribute__((noinline)) int connect_blocking(int fd, const struct peer* peer,
                                               long long* took_ns) {
  long long begin = now_ns();
  int failed = connect(fd, (const struct sockaddr*)&peer->address, peer->length);
  int error = failed ? errno : 0;
  *took_ns += now_ns() - begin;
  return error;
}

__attribute__((noinline)) int connect_polling(int fd, const struct peer* peer, int timeout_ms,
                                              long long* took_ns) {
  long long begin = now_ns();
  struct pollfd wait = {fd, POLLOUT, 0};
  int error = 0;
  socklen_t length = sizeof(error);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  if (connect(fd, (const struct sockaddr*)&peer->address, peer->length) == 0) goto out;
  error = errno;
  if (error != EINPROGRESS) goto out;
  if (poll(&wait, 1, timeout_ms) == 0)
    error = -1;
  else
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
out:
  *took_ns += now_ns() - begin;
  return error;
}

static int one_connect(int fd, bool polling, const struct peer* peer, int timeout_ms,
                       long long* took_ns) {
  return polling ? connect_polling(fd, peer, timeout_ms, took_ns)
                 : connect_blocking(fd, peer, took_ns);
}

/* asm: no tail call, so that each path stays on the stack. */
__attribute__((noinline)) int path_a(int fd, bool polling, const struct peer* peer, int timeout_ms,
                                     long long* took_ns) {
  int error = one_connect(fd, polling, peer, timeout_ms, took_ns);
  asm volatile("");
  return error;
}

__attribute__((noinline)) int path_b(int fd, bool polling, const struct peer* peer, int timeout_ms,
                                     long long* took_ns) {
  int error = one_connect(fd, polling, peer, timeout_ms, took_ns);
  asm volatile("" ::: "memory");
  return error;
}

static int through(char path, int fd, bool polling, const struct peer* peer, int timeout_ms,
                   long long* took_ns) {
  return path == 'a' ? path_a(fd, polling, peer, timeout_ms, took_ns)
                     : path_b(fd, polling, peer, timeout_ms, took_ns);
}

static void answer_all(char path, bool polling, const struct peer* peer, long count,
                       int timeout_ms) {
  long errors[MOST_ERRORS] = {}, given_up = 0;
  long long took_ns = 0, begin = now_ns();
  for (long i = 0; i < count; i++) {
    int fd = open_socket(peer), error = through(path, fd, polling, peer, timeout_ms, &took_ns);
    char byte;
    if (error < 0)
      given_up++;
    else
      errors[error]++;
    if (!error && !polling) { /* the server closes first */
      shutdown(fd, SHUT_WR);
      while (read(fd, &byte, 1) > 0) {
      }
    }
    close(fd);
  }
  printf("{\"took_ns\": %lld, \"elapsed_ns\": %lld, \"given_up\": %ld, \"errors\": {", took_ns,
         now_ns() - begin, given_up);
  const char* comma = "";
  for (int i = 0; i < MOST_ERRORS; i++) {
    if (errors[i]) {
      printf("%s\"%d\": %ld", comma, i, errors[i]);
      comma = ", ";
    }
  }
  printf("}}\n");
}

static int held[256] = {[0 ... 255] = -1}; /* by path */
static int begun[64], begun_count;

struct sending {
  int fd;
  long bytes;
};

__attribute__((noinline)) void* send_all(void* argument) {
  struct sending* sending = argument;
  static char buffer[65536];
  while (sending->bytes > 0) {
    ssize_t sent = write(sending->fd, buffer, sending->bytes < 65536 ? sending->bytes : 65536);
    if (sent <= 0) break;
    sending->bytes -= sent;
  }
  /* Until all of it has been acknowledged. */
  struct tcp_info info;
  socklen_t length = sizeof(info);
  do {
    usleep(1000);
    getsockopt(sending->fd, IPPROTO_TCP, TCP_INFO, &info, &length);
  } while (info.tcpi_unacked > 0 && info.tcpi_state == TCP_ESTABLISHED);
  return NULL;
}

static void* read_to_end(void* argument) {
  int fd = (int)(intptr_t)argument;
  static __thread char buffer[65536];
  while (read(fd, buffer, sizeof(buffer)) > 0) {
  }
  close(fd);
  return NULL;
}

__attribute__((noinline)) int accept_one(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  asm volatile("");
  return fd;
}

static void* accept_all(void* argument) {
  int listener = (int)(intptr_t)argument;
  for (;;) {
    int fd = accept_one(listener);
    char byte;
    if (fd < 0) return NULL;
    /* What has ended already needs no thread. */
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    pthread_t thread;
    if (got == 0 || pthread_create(&thread, NULL, read_to_end, (void*)(intptr_t)fd))
      close(fd);
    else
      pthread_detach(thread);
  }
}

__attribute__((noinline)) int begin_listening(int port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int listener = socket(AF_INET6, SOCK_STREAM, 0), off = 0, on = 1;
  setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(listener, (struct sockaddr*)&any, sizeof(any)) || listen(listener, 4096)) {
    perror("listen");
    exit(1);
  }
  asm volatile("");
  return listener;
}

/* The child has nothing of ours but what it is sent. */
static pid_t give(int fd) {
  int pair[2];
  char byte = 0, control[CMSG_SPACE(sizeof(fd))] = {};
  struct iovec data = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return -1;
  pid_t child = fork();
  if (child == 0) {
    close(fd);
    if (write(pair[1], "", 1) != 1 || recvmsg(pair[1], &message, 0) != 1 ||
        write(pair[1], "", 1) != 1)
      _exit(1);
    for (;;) pause();
  }
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(fd));
  memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  if (read(pair[0], &byte, 1) != 1 || sendmsg(pair[0], &message, 0) != 1) child = -1;
  close(fd);
  if (read(pair[0], &byte, 1) != 1) child = -1; /* it has it */
  return child;
}

static pid_t send_from_child(int fd, long bytes) {
  pid_t child = fork();
  if (child == 0) {
    struct sending sending = {fd, bytes};
    send_all(&sending);
    _exit(sending.bytes != 0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  return status ? -1 : child;
}

static void echo_all(int listener) {
  for (;;) {
    int fd = accept_one(listener);
    char buffer[4096];
    ssize_t got;
    while ((got = read(fd, buffer, sizeof(buffer))) > 0)
      if (write(fd, buffer, got) != got) break;
    close(fd);
  }
}

static void prefork(int listener, long count) {
  printf("{\"pids\": [");
  fflush(stdout); /* the children must not say it again */
  for (long i = 0; i < count; i++) {
    pid_t child = fork();
    if (child == 0) echo_all(listener);
    printf("%s%d", i ? ", " : "", child);
    fflush(stdout);
  }
  printf("]}\n");
}

int main(void) {
  char line[256], path, how[16], host[64];
  int port, timeout_ms;
  long count;
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof(line), stdin)) {
    long long took_ns = 0;
    pthread_t thread;
    if (sscanf(line, "connect %c %15s %63s %d %ld %d", &path, how, host, &port, &count,
               &timeout_ms) == 6) {
      struct peer peer = parse(host, port);
      answer_all(path, how[0] == 'p', &peer, count, timeout_ms);
    } else if (sscanf(line, "hold %c %63s %d", &path, host, &port) == 3) {
      struct peer peer = parse(host, port);
      held[(unsigned char)path] = open_socket(&peer);
      printf("{\"error\": %d}\n",
             through(path, held[(unsigned char)path], false, &peer, 0, &took_ns));
    } else if (sscanf(line, "begin %c %63s %d", &path, host, &port) == 3 && begun_count < 64) {
      struct peer peer = parse(host, port);
      int fd = begun[begun_count++] = open_socket(&peer);
      printf("{\"given_up\": %d}\n", through(path, fd, true, &peer, 0, &took_ns) == -1);
    } else if (sscanf(line, "send %c %ld", &path, &count) == 2) {
      struct sending sending = {held[(unsigned char)path], count};
      pthread_create(&thread, NULL, send_all, &sending);
      pthread_join(thread, NULL);
      printf("{\"unsent\": %ld}\n", sending.bytes);
    } else if (sscanf(line, "listen %d", &port) == 1) {
      int listener = begin_listening(port);
      pthread_create(&thread, NULL, accept_all, (void*)(intptr_t)listener);
      pthread_detach(thread);
      puts("{}");
    } else if (sscanf(line, "give %c", &path) == 1) {
      printf("{\"pid\": %d}\n", give(held[(unsigned char)path]));
      held[(unsigned char)path] = -1;
    } else if (sscanf(line, "fork %c %ld", &path, &count) == 2) {
      printf("{\"pid\": %d}\n", send_from_child(held[(unsigned char)path], count));
    } else if (sscanf(line, "prefork %d %ld", &port, &count) == 2) {
      prefork(begin_listening(port), count);
    } else if (sscanf(line, "queue %d", &port) == 1) {
      begin_listening(port);
      puts("{}");
    } else if (!strncmp(line, "close", 5)) {
      for (int i = 0; i < 256; i++) {
        if (held[i] >= 0) close(held[i]);
        held[i] = -1;
      }
      while (begun_count > 0) close(begun[--begun_count]);
      puts("{}");
    } else {
      fprintf(stderr, "what is %s", line);
      return 1;
    }
    fflush(stdout);
  }
  return 0;
}
