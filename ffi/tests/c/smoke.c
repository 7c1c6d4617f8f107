/* Versions, texts, addresses, settings: everything that needs no handle. A second file includes the
 * header as well. */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

int header_compiles(void);

static void versions(void) {
  char expected[32];
  CHECK(header_compiles() == SHOAL_ABI_VERSION);
  CHECK(shoal_abi_version() == SHOAL_ABI_VERSION);
  snprintf(expected, sizeof expected, "%d.%d.%d", SHOAL_VERSION_MAJOR, SHOAL_VERSION_MINOR,
           SHOAL_VERSION_PATCH);
  CHECK(strcmp(shoal_version_string(), expected) == 0);
}

static void texts(void) {
  CHECK(strcmp(shoal_status_text(SHOAL_OK), "done") == 0);
  CHECK(strcmp(shoal_status_text(12345), "unknown status") == 0);
  CHECK(strcmp(shoal_status_text(INT32_MIN), "unknown status") == 0);
  CHECK(strcmp(shoal_role_name(SHOAL_ROLE_GATE), "gate") == 0);
  CHECK(strcmp(shoal_role_name(77), "unknown") == 0);
  CHECK(strcmp(shoal_state_name(SHOAL_STATE_DEAD), "dead") == 0);
  CHECK(strcmp(shoal_state_name(255), "unknown") == 0);
}

static void addresses_as_text(void) {
  static const char *const good[] = {"127.0.0.1:9000", "[::1]:65535", "0.0.0.0:0",
                                     "[fd00:1111:2222:3333:4444:5555:6666:7777]:10000"};
  static const char *const bad[] = {"",      "127.0.0.1", "localhost:9000", "127.0.0.1:65536",
                                    "::1:1", "[::1]",     "1.2.3.4:5 ",     "\xff\xfe:1"};
  char text[SHOAL_ADDRESS_TEXT_SIZE];
  char long_text[4096];
  shoal_address address, same;

  for (size_t index = 0; index < sizeof good / sizeof *good; index++) {
    CHECK_STATUS(shoal_address_parse(good[index], &address), SHOAL_OK);
    CHECK_STATUS(shoal_address_format(&address, text, sizeof text), SHOAL_OK);
    CHECK(strcmp(text, good[index]) == 0);
    CHECK_STATUS(shoal_address_format(&address, text, strlen(good[index])), SHOAL_BUFFER_TOO_SMALL);
    CHECK_STATUS(shoal_address_format(&address, text, strlen(good[index]) + 1), SHOAL_OK);
    CHECK_STATUS(shoal_address_format(&address, text, SIZE_MAX), SHOAL_OK);
  }
  memset(&address, 0x5a, sizeof address);
  same = address;
  for (size_t index = 0; index < sizeof bad / sizeof *bad; index++) {
    CHECK_STATUS(shoal_address_parse(bad[index], &address), SHOAL_INVALID_ADDRESS);
  }
  memset(long_text, '1', sizeof long_text - 1);
  long_text[sizeof long_text - 1] = 0;
  CHECK_STATUS(shoal_address_parse(long_text, &address), SHOAL_INVALID_ADDRESS);
  CHECK(memcmp(&address, &same, sizeof same) == 0);
  CHECK_STATUS(shoal_address_format(&address, text, sizeof text), SHOAL_INVALID_ADDRESS);

  address = test_address("[::ffff:10.1.2.3]:7");
  same = test_address("10.1.2.3:7");
  CHECK(memcmp(&address, &same, sizeof same) == 0);
}

static void addresses_as_sockaddr(void) {
  struct sockaddr_storage storage;
  struct sockaddr *any = (struct sockaddr *)&storage;
  struct sockaddr_in plain;
  shoal_address address = test_address("10.1.2.3:4567");
  shoal_address wide = test_address("[fd00::9]:80");
  shoal_address back;
  size_t size = 99;

  CHECK_STATUS(shoal_address_to_sockaddr(&address, AF_INET, any, sizeof storage, &size), SHOAL_OK);
  CHECK(size == sizeof(struct sockaddr_in));
  memcpy(&plain, &storage, sizeof plain);
  CHECK(plain.sin_family == AF_INET && plain.sin_port == htons(4567));
  CHECK(plain.sin_addr.s_addr == htonl(0x0a010203));
  CHECK_STATUS(shoal_address_from_sockaddr(any, size, &back), SHOAL_OK);
  CHECK(memcmp(&back, &address, sizeof back) == 0);

  CHECK_STATUS(shoal_address_to_sockaddr(&address, AF_INET6, any, sizeof storage, &size), SHOAL_OK);
  CHECK(size == sizeof(struct sockaddr_in6));
  CHECK_STATUS(shoal_address_from_sockaddr(any, size, &back), SHOAL_OK);
  CHECK(memcmp(&back, &address, sizeof back) == 0);

  size = 99;
  CHECK_STATUS(shoal_address_to_sockaddr(&wide, AF_INET, any, sizeof storage, &size),
               SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_address_to_sockaddr(&wide, AF_UNIX, any, sizeof storage, &size),
               SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(
      shoal_address_to_sockaddr(&wide, AF_INET6, any, sizeof(struct sockaddr_in6) - 1, &size),
      SHOAL_BUFFER_TOO_SMALL);
  CHECK_STATUS(shoal_address_to_sockaddr(&wide, AF_INET6, any, 0, &size), SHOAL_BUFFER_TOO_SMALL);
  CHECK(size == 99);
  CHECK_STATUS(shoal_address_to_sockaddr(&wide, AF_INET6, any, SIZE_MAX, &size), SHOAL_OK);
  CHECK_STATUS(shoal_address_from_sockaddr(any, size - 1, &back), SHOAL_INVALID_ADDRESS);
  CHECK_STATUS(shoal_address_from_sockaddr(any, 0, &back), SHOAL_INVALID_ADDRESS);
  CHECK_STATUS(shoal_address_from_sockaddr(any, 1, &back), SHOAL_INVALID_ADDRESS);
  storage.ss_family = AF_UNIX;
  CHECK_STATUS(shoal_address_from_sockaddr(any, sizeof storage, &back), SHOAL_INVALID_ADDRESS);
}

static void settings(void) {
  shoal_config config, first;
  memset(&config, 0xff, sizeof config);
  CHECK_STATUS(shoal_config_init(&config), SHOAL_OK);
  CHECK(config.struct_size == sizeof config);
  CHECK(config.probe_interval_ms >= 10 && config.member_capacity >= 2);
  CHECK(strcmp(config.datacenter, "default") == 0);
  CHECK(config.role == SHOAL_ROLE_MANAGER && config.cpu == SHOAL_CPU_ANY);
  CHECK(config.secrets == NULL && config.secret_count == 0);

  /* The function behind the macro knows the first header only. */
  memset(&first, 0, sizeof first);
  CHECK_STATUS((shoal_config_init)(&first), SHOAL_OK);
  CHECK(first.struct_size <= sizeof first);
  CHECK(first.probe_interval_ms == config.probe_interval_ms);
}

int main(void) {
  versions();
  texts();
  addresses_as_text();
  addresses_as_sockaddr();
  settings();
  return 0;
}
