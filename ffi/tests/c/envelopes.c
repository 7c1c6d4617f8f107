/* Envelopes: what is sealed opens once, at everybody who has the secret and nobody else. */
#include "check.h"

static const uint8_t message[] = "the quick brown fox";
enum { SIZE = sizeof message - 1 };

static shoal_secret secret_of(const char *text) {
  shoal_secret secret = {(const uint8_t *)text, strlen(text)};
  return secret;
}

static shoal_envelope *make(const shoal_secret *secrets, size_t count) {
  shoal_envelope *envelope = NULL;
  CHECK_STATUS(shoal_envelope_new(secrets, count, 2, &envelope, NULL, 0), SHOAL_OK);
  return envelope;
}

static size_t seal(shoal_envelope *envelope, uint8_t *datagram) {
  size_t size = 0;
  CHECK_STATUS(shoal_envelope_seal(envelope, message, SIZE, datagram, SIZE + 48, &size), SHOAL_OK);
  CHECK(size == SIZE + SHOAL_ENVELOPE_OVERHEAD);
  return size;
}

/* Opens a copy. */
static shoal_status open_copy(shoal_envelope *envelope, const uint8_t *datagram, size_t size) {
  uint8_t copy[SHOAL_DATAGRAM_SIZE_MAX];
  const uint8_t *opened = NULL;
  size_t opened_size = 99;
  shoal_status status;
  memcpy(copy, datagram, size);
  status = shoal_envelope_open(envelope, copy, size, &opened, &opened_size);
  if (status == SHOAL_OK) {
    CHECK(opened > copy && opened + opened_size < copy + size);
    CHECK(opened_size == SIZE && memcmp(opened, message, SIZE) == 0);
  } else {
    CHECK(opened == NULL && opened_size == 99);
  }
  return status;
}

static void exchange(void) {
  shoal_secret secret = test_secret(), other = secret_of("another secret, long enough");
  shoal_envelope *alice = make(&secret, 1), *bob = make(&secret, 1), *mallory = make(&other, 1);
  uint8_t datagram[SIZE + 48], second[SIZE + 48];
  char detail[SHOAL_DETAIL_SIZE];
  size_t size = seal(alice, datagram);
  CHECK_STATUS(open_copy(mallory, datagram, size), SHOAL_DATAGRAM_UNKNOWN_KEY);
  CHECK_STATUS(open_copy(alice, datagram, size), SHOAL_DATAGRAM_OWN);
  for (size_t at = 0; at < size; at++) {
    datagram[at] ^= 1;
    CHECK(open_copy(bob, datagram, size) < 0);
    datagram[at] ^= 1;
  }
  CHECK_STATUS(open_copy(bob, datagram, size - 1), SHOAL_DATAGRAM_FORGED);
  CHECK_STATUS(shoal_envelope_error(bob, detail, sizeof detail), SHOAL_OK);
  CHECK(strcmp(detail, "the seal is broken") == 0);
  CHECK_STATUS(open_copy(bob, datagram, 47), SHOAL_DATAGRAM_FOREIGN);
  CHECK_STATUS(open_copy(bob, datagram, size), SHOAL_OK);
  CHECK_STATUS(open_copy(bob, datagram, size), SHOAL_DATAGRAM_REPLAYED);
  CHECK(seal(alice, second) == size && memcmp(datagram, second, size) != 0);
  CHECK_STATUS(open_copy(bob, second, size), SHOAL_OK);
  shoal_envelope_free(alice);
  shoal_envelope_free(bob);
  shoal_envelope_free(mallory);
}

static void rotation(void) {
  shoal_secret both[2];
  shoal_envelope *alice, *bob;
  uint8_t datagram[SIZE + 48];
  both[0] = test_secret();
  both[1] = secret_of("the secret of tomorrow");
  alice = make(&both[0], 1);
  bob = make(both, 2);
  CHECK_STATUS(open_copy(bob, datagram, seal(alice, datagram)), SHOAL_OK);
  CHECK_STATUS(shoal_envelope_set_secrets(alice, &both[1], 1), SHOAL_OK);
  CHECK_STATUS(open_copy(bob, datagram, seal(alice, datagram)), SHOAL_OK);
  CHECK_STATUS(shoal_envelope_set_secrets(bob, &both[0], 1), SHOAL_OK);
  CHECK_STATUS(open_copy(bob, datagram, seal(alice, datagram)), SHOAL_DATAGRAM_UNKNOWN_KEY);
  CHECK_STATUS(shoal_envelope_set_secrets(bob, both, 0), SHOAL_INVALID_SECRET_COUNT);
  shoal_envelope_free(alice);
  shoal_envelope_free(bob);
}

static void sizes(void) {
  enum { LARGEST = SHOAL_DATAGRAM_SIZE_MAX - SHOAL_ENVELOPE_OVERHEAD };
  shoal_secret secret = test_secret();
  shoal_envelope *alice = make(&secret, 1), *bob = make(&secret, 1);
  uint8_t bytes[SHOAL_DATAGRAM_SIZE_MAX + 1] = {0};
  const uint8_t *opened = NULL;
  size_t size = 0;
  CHECK_STATUS(shoal_envelope_seal(alice, bytes, LARGEST + 1, bytes, sizeof bytes, &size),
               SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_envelope_seal(alice, bytes, 4, bytes, 51, &size), SHOAL_BUFFER_TOO_SMALL);
  CHECK(size == 0);
  /* A message may be sealed into the buffer that holds it. */
  bytes[LARGEST - 1] = 7;
  CHECK_STATUS(shoal_envelope_seal(alice, bytes, LARGEST, bytes, sizeof bytes, &size), SHOAL_OK);
  CHECK(size == SHOAL_DATAGRAM_SIZE_MAX);
  CHECK_STATUS(shoal_envelope_open(bob, bytes, sizeof bytes, &opened, &size),
               SHOAL_DATAGRAM_FOREIGN);
  CHECK_STATUS(shoal_envelope_open(bob, bytes, SHOAL_DATAGRAM_SIZE_MAX, &opened, &size), SHOAL_OK);
  CHECK(size == LARGEST && opened[0] == 0 && opened[LARGEST - 1] == 7);
  /* Nothing can be a message too. */
  CHECK_STATUS(shoal_envelope_seal(alice, NULL, 0, bytes, sizeof bytes, &size), SHOAL_OK);
  CHECK_STATUS(shoal_envelope_open(bob, bytes, size, &opened, &size), SHOAL_OK);
  CHECK(size == 0);
  shoal_envelope_free(alice);
  shoal_envelope_free(bob);
}

int main(void) {
  exchange();
  rotation();
  sizes();
  return 0;
}
