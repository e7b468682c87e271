/* See config.h. */
#include "hakmemd/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <pwd.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- values ---- */

bool config_parse_size(const char *text, uint64_t *n_bytes_out)
{
    static const char suffixes[] = "KMGT";
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    unsigned shift = 0;
    if (*end != '\0') {
        const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
        if (!suffix)
            return false;
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        end++;
        if (*end == 'i') /* KiB and KB mean the same here */
            end++;
        if (*end == 'B')
            end++;
    }
    if (*end != '\0' || value > UINT64_MAX >> shift)
        return false;
    *n_bytes_out = (uint64_t)value << shift;
    return true;
}

static bool parse_number(const char *text, unsigned base, uint64_t min, uint64_t max,
                         uint64_t *value_out)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, (int)base);
    if (errno != 0 || *end != '\0' || value < min || value > max)
        return false;
    *value_out = value;
    return true;
}

static bool parse_bool(const char *text, bool *value_out)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *value_out = i % 2 == 1;
            return true;
        }
    }
    return false;
}

/* ---- keys ---- */

enum key_type { KEY_SIZE, KEY_NUMBER, KEY_MODE, KEY_PATH, KEY_WORD, KEY_BOOL };

struct key {
    const char *section;
    const char *name;
    enum key_type type;
    size_t offset; /* in struct server_settings */
    uint64_t min;
    uint64_t max;
    const char *const *words; /* of KEY_WORD: an enum's values in order */
};

static const char *const backing_words[] = {"auto", "thp", "4k", "hugetlb", NULL};
static const char *const reuse_words[] = {"same-user", "never", NULL};
static const char *const level_words[] = {"error", "warning", "info", "debug", NULL};

#define AT(field)      offsetof(struct server_settings, field)
#define NO_MAX         UINT64_MAX
#define DAY_MS         UINT64_C(86400000)
#define POOL_MIN_BYTES (UINT64_C(64) << 20)

static const struct key keys[] = {
    {"socket", "path", KEY_PATH, AT(socket_path), 1,
     sizeof(((struct server_settings *)0)->socket_path) - 1, NULL},
    {"socket", "mode", KEY_MODE, AT(socket_mode), 0, 0777, NULL},
    {"pool", "min", KEY_SIZE, AT(pool.min_bytes), 0, NO_MAX, NULL},
    {"pool", "max", KEY_SIZE, AT(pool.max_bytes), 0, NO_MAX, NULL},
    {"pool", "backing", KEY_WORD, AT(pool.backing), 0, 0, backing_words},
    {"pool", "recycled_ms", KEY_NUMBER, AT(pool.recycled_ms), 0, DAY_MS, NULL},
    {"reclaim", "idle_ms", KEY_NUMBER, AT(idle_ms), 0, DAY_MS, NULL},
    {"reclaim", "reuse", KEY_WORD, AT(reuse), 0, 0, reuse_words},
    {"peer", "unread_timeout_ms", KEY_NUMBER, AT(peer.unread_timeout_ms), 1, DAY_MS, NULL},
    {"pressure", "enabled", KEY_BOOL, AT(pressure.enabled), 0, 0, NULL},
    {"pressure", "some_us", KEY_NUMBER, AT(pressure.some_us), 1, 2000000, NULL},
    {"pressure", "quiet_ms", KEY_NUMBER, AT(pressure.quiet_ms), 1, DAY_MS, NULL},
    {"restart", "store_after_ms", KEY_NUMBER, AT(store_after_ms), 0, DAY_MS, NULL},
    {"restart", "reattach_ms", KEY_NUMBER, AT(reattach_ms), 0, DAY_MS, NULL},
    {"host", "proc", KEY_PATH, AT(host.proc), 1, HOST_ROOT_BYTES - 1, NULL},
    {"host", "sys", KEY_PATH, AT(host.sys), 1, HOST_ROOT_BYTES - 1, NULL},
    {"log", "level", KEY_WORD, AT(log_level), 0, 0, level_words},
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

/* What is being read, for messages. */
struct reading {
    struct server_settings *settings;
    const char *file; /* or "-o" */
    FILE *stream;
    int line;
    int error_line;
    char *error; /* of CONFIG_ERROR_BYTES; empty: none yet */
};

__attribute__((format(printf, 2, 3))) static void complain(struct reading *reading,
                                                           const char *format, ...)
{
    if (reading->error[0] != '\0') /* the first mistake is the one to mend */
        return;
    reading->error_line = reading->line;
    va_list arguments;
    int n = reading->line > 0 ? snprintf(reading->error, CONFIG_ERROR_BYTES,
                                         "%s:%d: ", reading->file, reading->line)
                              : snprintf(reading->error, CONFIG_ERROR_BYTES, "%s: ", reading->file);
    if (n < 0 || n >= CONFIG_ERROR_BYTES)
        return;
    va_start(arguments, format);
    vsnprintf(reading->error + n, CONFIG_ERROR_BYTES - (size_t)n, format, arguments);
    va_end(arguments);
}

static void list_words(const char *const *words, char *text, size_t capacity)
{
    size_t n = 0;
    text[0] = '\0';
    for (; *words && n < capacity; words++)
        n += (size_t)snprintf(text + n, capacity - n, "%s%s", n ? ", " : "", *words);
}

static bool set_word(struct reading *reading, const struct key *key, const char *value, int *place)
{
    char choices[128];
    for (int i = 0; key->words[i]; i++) {
        if (strcmp(value, key->words[i]) == 0) {
            *place = i;
            return true;
        }
    }
    list_words(key->words, choices, sizeof(choices));
    complain(reading, "%s.%s = %s: not one of: %s", key->section, key->name, value, choices);
    return false;
}

static_assert(sizeof(enum extent_backing) == sizeof(int) &&
                  sizeof(enum scrub_reuse) == sizeof(int) && sizeof(enum log_level) == sizeof(int),
              "set_word stores an int");

static bool set_key(struct reading *reading, const struct key *key, const char *value)
{
    char *place = (char *)reading->settings + key->offset;
    uint64_t number;
    switch (key->type) {
    case KEY_SIZE:
        if (!config_parse_size(value, (uint64_t *)place)) {
            complain(reading, "%s.%s = %s: not a size (a number, then K, M, G or T if you like)",
                     key->section, key->name, value);
            return false;
        }
        return true;
    case KEY_NUMBER:
        if (!parse_number(value, 10, key->min, key->max, (uint64_t *)place)) {
            complain(reading, "%s.%s = %s: not a number from %llu to %llu", key->section, key->name,
                     value, (unsigned long long)key->min, (unsigned long long)key->max);
            return false;
        }
        return true;
    case KEY_MODE:
        if (!parse_number(value, 8, key->min, key->max, &number)) {
            complain(reading, "%s.%s = %s: not an octal file mode", key->section, key->name, value);
            return false;
        }
        *(unsigned *)(void *)place = (unsigned)number;
        return true;
    case KEY_PATH:
        if (strlen(value) < key->min || strlen(value) > key->max) {
            complain(reading, "%s.%s: a path of 1 to %llu characters is wanted", key->section,
                     key->name, (unsigned long long)key->max);
            return false;
        }
        memcpy(place, value, strlen(value) + 1);
        return true;
    case KEY_WORD:
        return set_word(reading, key, value, (int *)(void *)place);
    default:
        if (!parse_bool(value, (bool *)place))
            complain(reading, "%s.%s = %s: yes or no is wanted", key->section, key->name, value);
        return reading->error[0] == '\0';
    }
}

/* ---- [user:NAME] ---- */

static bool find_user(const char *name, uid_t *uid_out)
{
    uint64_t number;
    if (parse_number(name, 10, 0, UINT32_MAX - 1, &number)) {
        *uid_out = (uid_t)number;
        return true;
    }
    const struct passwd *entry = getpwnam(name);
    if (!entry)
        return false;
    *uid_out = entry->pw_uid;
    return true;
}

static struct quota_limits *limits_of(struct quota_settings *quota, uid_t uid)
{
    for (size_t i = 0; i < quota->n_overrides; i++)
        if (quota->overrides[i].uid == uid)
            return &quota->overrides[i].limits;
    if (quota->n_overrides == QUOTA_N_OVERRIDES_MAX)
        return NULL;
    struct quota_override *override = &quota->overrides[quota->n_overrides++];
    *override = (struct quota_override){.uid = uid, .limits = quota_limits_unset()};
    return &override->limits;
}

/* One of quota.c's keys; `prefix` is how it is called in messages: "quota." or "[user:…] ". */
static bool set_limit(struct reading *reading, struct quota_limits *limits, const char *prefix,
                      const struct quota_key *key, const char *value)
{
    uint64_t number = 0;
    if (key->is_bytes && !config_parse_size(value, &number)) {
        complain(reading, "%s%s = %s: not a size (a number, then K, M, G or T if you like)", prefix,
                 key->name, value);
        return false;
    }
    if ((!key->is_bytes && !parse_number(value, 10, key->min, key->max, &number)) ||
        number > key->max) {
        complain(reading, "%s%s = %s: not a number from %llu to %llu", prefix, key->name, value,
                 (unsigned long long)key->min, (unsigned long long)key->max);
        return false;
    }
    *quota_limits_field(limits, key) = number;
    return true;
}

static bool set_user_key(struct reading *reading, const char *user, const char *name,
                         const char *value)
{
    char prefix[64];
    uid_t uid;
    if (!find_user(user, &uid)) {
        complain(reading, "[user:%s]: no such user", user);
        return false;
    }
    struct quota_limits *limits = limits_of(&reading->settings->quota, uid);
    if (!limits) {
        complain(reading, "more than %d users with limits of their own", QUOTA_N_OVERRIDES_MAX);
        return false;
    }
    const struct quota_key *key = quota_key_find(name);
    if (!key) {
        complain(reading, "[user:%s]: unknown key \"%s\"", user, name);
        return false;
    }
    snprintf(prefix, sizeof(prefix), "[user:%s] ", user);
    return set_limit(reading, limits, prefix, key, value);
}

/* ---- files and overrides ---- */

/* inih's handler: 1 is success. */
static int on_key(void *data, const char *section, const char *name, const char *value)
{
    struct reading *reading = data;
    const struct quota_key *limit = strcmp(section, "quota") == 0 ? quota_key_find(name) : NULL;
    if (limit)
        return set_limit(reading, &reading->settings->quota.defaults, "quota.", limit,
                         value ? value : "");
    if (strncmp(section, "user:", 5) == 0)
        return set_user_key(reading, section + 5, name, value ? value : "");
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return set_key(reading, &keys[i], value ? value : "");
    if (section[0] == '\0')
        complain(reading, "\"%s\" stands before any [section]", name);
    else
        complain(reading, "unknown key \"%s\" in [%s]", name, section);
    return 0;
}

/* inih's reader: counts the lines, which inih does not tell its handler. */
static char *read_line(char *text, int capacity, void *data)
{
    struct reading *reading = data;
    reading->line++;
    return fgets(text, capacity, reading->stream);
}

static bool read_file(struct reading *reading, bool must_exist)
{
    reading->stream = fopen(reading->file, "re");
    if (!reading->stream) {
        if (errno == ENOENT && !must_exist)
            return true;
        complain(reading, "%s", strerror(errno));
        return false;
    }
    int line = ini_parse_stream(read_line, reading, on_key, reading);
    bool unreadable = ferror(reading->stream) != 0;
    fclose(reading->stream);
    /* inih goes on after a line it cannot read, without a word to the handler. */
    if (line > 0 && (reading->error[0] == '\0' || line < reading->error_line)) {
        reading->error[0] = '\0';
        reading->line = line;
        complain(reading, "neither a [section] nor key = value");
    }
    if (unreadable && reading->error[0] == '\0') {
        reading->line = 0;
        complain(reading, "cannot be read");
    }
    if (line < 0)
        complain(reading, "out of memory");
    return reading->error[0] == '\0';
}

static bool read_override(struct reading *reading, const char *text)
{
    char section[64], name[64];
    const char *equals = strchr(text, '=');
    const char *dot = equals ? memrchr(text, '.', (size_t)(equals - text)) : NULL;
    if (!dot || dot == text || dot + 1 == equals || (size_t)(dot - text) >= sizeof(section) ||
        (size_t)(equals - dot - 1) >= sizeof(name)) {
        complain(reading, "\"%s\": section.key=value is wanted", text);
        return false;
    }
    snprintf(section, sizeof(section), "%.*s", (int)(dot - text), text);
    snprintf(name, sizeof(name), "%.*s", (int)(equals - dot - 1), dot + 1);
    return on_key(reading, section, name, equals + 1) == 1;
}

/* ---- the whole ---- */

static uint64_t own_limit_bytes(const struct host *host)
{
    struct cgroups cgroups;
    cgroups_init(&cgroups, host);
    struct cgroup *own = cgroups_get(&cgroups, getpid(), 0);
    uint64_t limit_bytes = cgroup_limit_bytes(own);
    cgroup_unref(own);
    cgroups_deinit(&cgroups);
    return limit_bytes;
}

/* A default that depends on what else is set. */
#define NOT_SET (UINT64_MAX - 1)

static uint64_t host_bytes(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A user and a client may lease half of the host's memory: quotas are here to keep one from taking
 * everything, not to ration. */
static void set_defaults(struct server_settings *settings)
{
    uint64_t ram_bytes = host_bytes();
    *settings = (struct server_settings){
        .socket_path = SERVER_DEFAULT_SOCKET,
        .socket_mode = 0666,
        .log_level = LOG_LEVEL_INFO,
        .host = host_default,
        .pool = {.min_bytes = NOT_SET,
                 .max_bytes = NOT_SET,
                 .backing = BACKING_AUTO,
                 .recycled_ms = 10000},
        .idle_ms = 1000,
        .reuse = REUSE_SAME_USER,
        .quota = {.defaults = {.bytes_per_user = ram_bytes / 2,
                               .bytes_per_client = ram_bytes / 2,
                               .clients_per_user = 4096,
                               .descriptors_per_user = 1024,
                               .requests_per_second = 2000,
                               .requests_per_user = 20000}},
        .peer = {.unread_timeout_ms = 30000},
        .pressure = {.enabled = true, .some_us = 150000, .quiet_ms = 10000},
        .store_after_ms = 1000,
        .reattach_ms = 600000,
    };
}

/*
 * pool.min: 64 MiB, a few programs' beginnings with extents of every size; little beside any host's
 * memory. pool.max: an eighth of the host's memory, or of what the daemon's control group may have
 * of it.
 */
static void set_pool_defaults(struct server_settings *settings)
{
    struct pool_settings *pool = &settings->pool;
    uint64_t own_bytes = own_limit_bytes(&settings->host), ram_bytes = host_bytes();
    if (pool->max_bytes == NOT_SET)
        pool->max_bytes = (own_bytes < ram_bytes ? own_bytes : ram_bytes) / 8;
    if (pool->min_bytes == NOT_SET)
        pool->min_bytes = POOL_MIN_BYTES < pool->max_bytes ? POOL_MIN_BYTES : pool->max_bytes;
}

static bool check_whole(const struct server_settings *settings, struct reading *reading)
{
    reading->line = 0;
    if (settings->pool.min_bytes > settings->pool.max_bytes)
        complain(reading, "pool.min is more than pool.max");
    if (settings->quota.defaults.bytes_per_client < SUPERSLAB_BYTES)
        complain(reading, "quota.bytes_per_client is less than a SuperSlab (2M)");
    return reading->error[0] == '\0';
}

bool config_load(const struct config_source *source, struct server_settings *settings_out,
                 char error[CONFIG_ERROR_BYTES])
{
    bool ok = false;
    struct server_settings *settings = calloc(1, sizeof(*settings));
    struct reading reading = {.settings = settings,
                              .file = source->file ? source->file : CONFIG_DEFAULT_FILE,
                              .error = error};
    error[0] = '\0';
    if (!settings) {
        complain(&reading, "out of memory");
        return false;
    }
    set_defaults(settings);
    ok = read_file(&reading, source->file != NULL);
    reading.line = 0;
    if (ok)
        reading.file = "-o";
    for (size_t i = 0; i < source->n_overrides && ok; i++)
        ok = read_override(&reading, source->overrides[i]);
    if (ok && source->socket) {
        reading.file = "--socket";
        ok = on_key(&reading, "socket", "path", source->socket) == 1;
    }
    reading.file = "configuration";
    if (ok)
        set_pool_defaults(settings);
    ok = ok && check_whole(settings, &reading);
    if (ok)
        *settings_out = *settings;
    free(settings);
    return ok;
}
