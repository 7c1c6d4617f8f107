/* The engine in this program's own loop, with its own socket and epoll: no thread, no hidden I/O.
 *
 *   ./engine_loop ADDRESS SECRET SECONDS [SEED]...
 *   ./engine_loop 127.0.0.1:7950 'a secret of the cluster' 10 127.0.0.1:7946
 *
 * One input, then drain, then wait: that is the whole contract. Linux only because of epoll;
 * poll(2) does as well. */
#include <shoal.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static shoal_engine *engine;
static int udp_socket;

static void check(shoal_status status, const char *what) {
  char detail[SHOAL_DETAIL_SIZE] = "";
  if (status == SHOAL_OK) return;
  if (engine != NULL) shoal_engine_error(engine, detail, sizeof detail);
  fprintf(stderr, "%s: %s. %s\n", what, shoal_status_text(status), detail);
  exit(1);
}

/* The engine reads no clock. Any clock that never steps back will do. */
static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void open_socket(const shoal_address *address) {
  struct sockaddr_storage storage;
  size_t size;
  int off = 0;
  /* One IPv6 socket carries both: Shoal writes IPv4 as IPv4-mapped IPv6 for it. */
  udp_socket = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(udp_socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  check(shoal_address_to_sockaddr(address, AF_INET6, (struct sockaddr *)&storage, sizeof storage,
                                  &size),
        "address");
  if (udp_socket < 0 || bind(udp_socket, (struct sockaddr *)&storage, (socklen_t)size) != 0) {
    perror("cannot bind");
    exit(1);
  }
}

static void make_engine(const shoal_address *address, const char *secret_text) {
  shoal_secret secret = {(const uint8_t *)secret_text, strlen(secret_text)};
  char detail[SHOAL_DETAIL_SIZE] = "";
  struct timespec wall;
  shoal_config config;
  uint64_t seed;
  shoal_config_init(&config);
  config.advertise = *address;
  config.secrets = &secret;
  config.secret_count = 1;
  config.role = SHOAL_ROLE_WORKER;
  /* A restart must be a later generation than the run before, and must not repeat its random
   * choices. */
  clock_gettime(CLOCK_REALTIME, &wall);
  config.generation = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
  if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) exit(1);
  if (shoal_engine_new(&config, seed, now_ns(), &engine, detail, sizeof detail) != SHOAL_OK) {
    fprintf(stderr, "cannot start: %s\n", detail);
    exit(1);
  }
}

/* Sends what the last input brought about, then tells what happened. Returns 1 when the goodbye has
 * been said. */
static int drain(void) {
  uint8_t buffer[SHOAL_DATAGRAM_SIZE_MAX];
  struct sockaddr_storage storage;
  shoal_transmit transmit;
  shoal_event event;
  size_t size;
  int has_left = 0;
  while (shoal_engine_poll_transmit(engine, now_ns(), buffer, sizeof buffer, &transmit) ==
         SHOAL_OK) {
    check(shoal_address_to_sockaddr(&transmit.target, AF_INET6, (struct sockaddr *)&storage,
                                    sizeof storage, &size),
          "target");
    /* A datagram that cannot be sent now is lost, as it can be anywhere on its way. */
    (void)!sendto(udp_socket, buffer, transmit.size, 0, (struct sockaddr *)&storage,
                  (socklen_t)size);
  }
  while (shoal_engine_poll_event(engine, &event) == SHOAL_OK) {
    char text[SHOAL_ADDRESS_TEXT_SIZE];
    if (event.kind == SHOAL_EVENT_MEMBER) {
      shoal_address_format(&event.address, text, sizeof text);
      printf("%s is %s\n", text, shoal_state_name(event.state));
    }
    has_left |= event.kind == SHOAL_EVENT_LEFT;
  }
  return has_left;
}

/* Hands every datagram that waits to the engine, one by one. */
static int receive(void) {
  /* One byte more than the largest, so that what is larger is seen to be. */
  uint8_t buffer[SHOAL_DATAGRAM_SIZE_MAX + 1];
  struct sockaddr_storage storage;
  shoal_address source;
  int has_left = 0;
  for (;;) {
    socklen_t size = sizeof storage;
    ssize_t received =
        recvfrom(udp_socket, buffer, sizeof buffer, 0, (struct sockaddr *)&storage, &size);
    if (received < 0) return has_left;
    check(shoal_address_from_sockaddr((struct sockaddr *)&storage, size, &source), "source");
    check(shoal_engine_handle_datagram(engine, now_ns(), &source, buffer, (size_t)received),
          "datagram");
    has_left |= drain();
  }
}

/* How long until the engine has something to do by itself. */
static int wait_ms(uint64_t end_ns) {
  uint64_t deadline_ns = end_ns, now = now_ns();
  shoal_engine_timeout_ns(engine, &deadline_ns);
  if (deadline_ns > end_ns) deadline_ns = end_ns;
  if (deadline_ns <= now) return 0;
  return (int)((deadline_ns - now + 999999) / 1000000);
}

static void loop(uint64_t end_ns, int stop_when_left) {
  struct epoll_event interest;
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  int has_left = drain();
  memset(&interest, 0, sizeof interest);
  interest.events = EPOLLIN;
  epoll_ctl(epoll, EPOLL_CTL_ADD, udp_socket, &interest);
  while (now_ns() < end_ns && !(has_left && stop_when_left)) {
    struct epoll_event ready;
    if (epoll_wait(epoll, &ready, 1, wait_ms(end_ns)) > 0) has_left |= receive();
    check(shoal_engine_handle_timeout(engine, now_ns()), "timeout");
    has_left |= drain();
  }
  close(epoll);
}

int main(int argc, char **argv) {
  shoal_address own, seeds[SHOAL_SEED_COUNT_MAX];
  shoal_member members[100];
  size_t count = 0;
  if (argc < 4 || argc - 4 > SHOAL_SEED_COUNT_MAX) {
    fprintf(stderr, "usage: %s ADDRESS SECRET SECONDS [SEED]...\n", argv[0]);
    return 2;
  }
  /* A line is written when it is complete, into a pipe too. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  check(shoal_address_parse(argv[1], &own), argv[1]);
  for (int index = 4; index < argc; index++) {
    check(shoal_address_parse(argv[index], &seeds[index - 4]), argv[index]);
  }
  open_socket(&own);
  make_engine(&own, argv[2]);
  check(shoal_engine_join(engine, now_ns(), seeds, (size_t)(argc - 4)), "join");
  loop(now_ns() + strtoull(argv[3], NULL, 10) * 1000000000u, 0);

  shoal_engine_members(engine, now_ns(), members, 100, &count);
  for (size_t index = 0; index < count && index < 100; index++) {
    char text[SHOAL_ADDRESS_TEXT_SIZE];
    shoal_address_format(&members[index].address, text, sizeof text);
    printf("%-24s %s\n", text, shoal_state_name(members[index].state));
  }
  check(shoal_engine_leave(engine, now_ns()), "leave");
  loop(now_ns() + 3000000000u, 1);
  shoal_engine_free(engine);
  close(udp_socket);
  return 0;
}
