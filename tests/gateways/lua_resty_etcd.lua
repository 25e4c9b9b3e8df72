-- The calls that APISIX makes through lua-resty-etcd, its client of the JSON gateway.
--
-- Runs in nginx: each request names a group of calls and the nodes, and is answered with one line
-- for each behaviour that was seen, or with status 500 and what was not.

local cjson = require("cjson.safe")
local etcd = require("resty.etcd")
local health_check = require("resty.etcd.health_check")
local http = require("resty.http")
local ssl = require("ngx.ssl")

-- Seconds that a call or the next message of a watch may take.
local TIMEOUT = 10
-- Above the 64 KiB that the gateway sends as one chunk.
local LARGE = 200 * 1024

local groups = {}

-- The certificate that calls show, if any. APISIX has an nginx of its own in which the client does
-- this; in others, a socket is told before its handshake.
local certificate, key
local shake_hands = http.ssl_handshake

function http.ssl_handshake(self, ...)
    if certificate then
        assert(self.sock:setclientcert(certificate, key))
    end
    return shake_hands(self, ...)
end

local function read_file(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

local function show(value)
    return type(value) == "string" and value or cjson.encode(value) or tostring(value)
end

local function equal(found, expected, what)
    if found ~= expected then
        error(what .. ": found " .. show(found) .. " instead of " .. show(expected), 2)
    end
end

-- The response of a call, which must have succeeded.
local function must(what, response, err)
    if not response then
        error(what .. ": " .. show(err), 2)
    end
    if response.status and response.status ~= 200 then
        error(what .. ": status " .. response.status .. ": " .. show(response.body), 2)
    end
    return response.body or response
end

local function seen(what)
    ngx.say(what)
end

local function connect(options, more)
    local all = {
        http_host = options.hosts,
        timeout = TIMEOUT,
        user = options.user,
        password = options.password,
        sni = options.sni,
    }
    for name, value in pairs(more or {}) do
        all[name] = value
    end
    return assert(etcd.new(all))
end

-- A call that the client has no function for.
local function post(options, path, body)
    local response, err = http.new():request_uri(options.hosts[1] .. path, {
        method = "POST",
        body = cjson.encode(body),
    })
    return cjson.decode(must(path, response, err))
end

-- The next message of a watch that is not only news of its progress.
local function next_events(read)
    while true do
        local body, err = read()
        if not body then
            error("watch: " .. show(err), 2)
        end
        if body.result.events then
            return body.result.events, body.result
        end
    end
end

local function revision(body)
    return tonumber(body.header.revision)
end

function groups.version(options)
    local body = must("version", connect(options):version())
    for _, name in ipairs({"etcdserver", "etcdcluster"}) do
        assert(ngx.re.match(body[name], [[^3\.\d+\.\d+$]]), show(body))
    end
    seen("version: of server and cluster")
end

function groups.keys(options)
    local client = connect(options, {key_prefix = "/keys"})
    must("set", client:set("/one", "1"))
    local body = must("set", client:set("/one", {nested = {"2"}}, {prev_kv = true}))
    equal(ngx.decode_base64(body.prev_kv.value), '"1"', "the previous value")
    local written = revision(body)

    local kv = must("get", client:get("/one")).kvs[1]
    equal(kv.key, "/keys/one", "key")
    equal(kv.value.nested[1], "2", "value")
    equal(kv.version, "2", "version")
    kv = must("get", client:get("/one", {revision = written - 1})).kvs[1]
    equal(kv.value, "1", "the value in the past")
    body = must("get", client:get("/none"))
    equal(body.kvs, nil, "keys that there are not")
    equal(body.count, nil, "their count")
    local response = client:get("/one", {revision = written + 1000})
    equal(response.status, 400, "status of a revision in the future")
    equal(response.body.code, 11, "code of a revision in the future")
    seen("keys: set and get, also in the past")

    equal(must("setnx", client:setnx("/one", "3")).succeeded, nil, "set of a key that is there")
    equal(must("setnx", client:setnx("/two", "3")).succeeded, true, "set of a key that is not")
    must("setx", client:setx("/two", "4"))
    equal(must("get", client:get("/two")).kvs[1].value, "4", "value of an update")
    seen("keys: set only if there, and only if not")

    must("set", client:set("/three", "5"))
    body = must("readdir", client:readdir("/"))
    equal(#body.kvs, 3, "keys of the directory")
    equal(body.count, "3", "count of the directory")
    body = must("readdir", client:readdir("/", {
        limit = 2, sort_order = "DESCEND", sort_target = "KEY"}))
    equal(body.more, true, "more than the limit")
    equal(body.kvs[1].key, "/keys/two", "last key")
    body = must("readdir", client:readdir("/", {keys_only = true}))
    equal(body.kvs[1].value, nil, "value of keys alone")
    body = must("readdir", client:readdir("/", {count_only = true}))
    equal(body.count, "3", "count alone")
    equal(body.kvs, nil, "keys of a count")
    seen("keys: directories, their order, limit and count")

    equal(must("delete", client:delete("/one")).deleted, "1", "deleted")
    equal(must("delete", client:delete("/one")).deleted, nil, "deleted twice")
    body = must("rmdir", client:rmdir("/", {prev_kv = true}))
    equal(body.deleted, "2", "deleted of the directory")
    equal(#body.prev_kvs, 2, "previous keys")
    seen("keys: delete one and a directory")

    local large = string.rep("x", LARGE)
    must("set", client:set("/large", large))
    equal(must("get", client:get("/large")).kvs[1].value, large, "the large value")
    seen("keys: a large value")
end

function groups.transactions(options)
    local client = connect(options, {key_prefix = "/txn"})
    must("set", client:set("/one", "old"))
    local compare = {{key = "/one", result = "EQUAL", target = "VALUE", value = "old"}}
    local success = {
        {requestPut = {key = "/one", value = "new"}},
        {requestRange = {key = ngx.encode_base64("/txn/one")}},
    }
    local failure = {{requestRange = {key = ngx.encode_base64("/txn/one")}}}
    local body = must("txn", client:txn(compare, success, failure))
    equal(body.succeeded, true, "a comparison that holds")
    equal(#body.responses, 2, "responses")
    local kv = body.responses[2].response_range.kvs[1]
    equal(ngx.decode_base64(kv.value), '"new"', "value after the put")
    seen("transactions: then")

    body = must("txn", client:txn(compare, success, failure))
    equal(body.succeeded, nil, "a comparison that does not hold")
    equal(body.responses[1].response_range.count, "1", "count of the other branch")
    seen("transactions: else")

    success[2] = {requestPut = {key = "/one", value = "twice"}}
    compare[1].value = "new"
    local response = client:txn(compare, success, failure)
    equal(response.status, 400, "status of a key that is put twice")
    equal(response.body.error, "etcdserver: duplicate key given in txn request", "its text")
    seen("transactions: refused")
end

function groups.leases(options)
    local client = connect(options)
    local granted = must("grant", client:grant(60))
    equal(granted.TTL, "60", "time to live")
    must("set", client:set("/leased", "x", {lease = granted.ID}))
    local body = must("keepalive", client:keepalive(granted.ID))
    equal(body.result.ID, granted.ID, "the renewed lease")
    equal(body.result.TTL, "60", "its time to live")
    body = must("timetolive", client:timetolive(granted.ID, true))
    equal(body.keys[1], "/leased", "key of the lease")
    equal(body.grantedTTL, "60", "granted time")
    local listed = false
    for _, lease in ipairs(must("leases", client:leases()).leases) do
        listed = listed or lease.ID == granted.ID
    end
    assert(listed, "the lease is not in the list")
    must("revoke", client:revoke(granted.ID))
    equal(must("get", client:get("/leased")).kvs, nil, "keys of a revoked lease")
    seen("leases: grant, attach, renew, list, revoke")

    equal(client:revoke(granted.ID).status, 404, "status of a lease that is not")
    equal(must("timetolive", client:timetolive(granted.ID)).TTL, "-1", "its time to live")
    equal(must("keepalive", client:keepalive(granted.ID)).result.TTL, nil, "its renewal")
    equal(client:set("/leased", "x", {lease = granted.ID}).status, 404, "status of a key on it")
    seen("leases: one that is not there")

    local short = must("grant", client:grant(1))
    must("set", client:set("/short", "x", {lease = short.ID}))
    local read = assert(client:watch("/short", {
        timeout = TIMEOUT, start_revision = revision(short)}))
    equal(next_events(read)[1].type, nil, "type of a put")
    equal(next_events(read)[1].type, "DELETE", "type of the end of a lease")
    seen("leases: one that ends")
end

function groups.watches(options)
    local client = connect(options, {key_prefix = "/watch"})
    local before = revision(must("set", client:set("/a", "1")))

    local read, err, connection = client:watch("/a", {timeout = TIMEOUT, need_cancel = true})
    assert(read, err)
    equal(read().result.created, true, "created")
    must("set", client:set("/b", "of another key"))
    must("set", client:set("/a", {value = "2"}))
    local events = next_events(read)
    equal(#events, 1, "events")
    equal(events[1].kv.key, "/watch/a", "key of an event")
    equal(events[1].kv.value.value, "2", "value of an event")
    assert(client:watchcancel(connection))
    seen("watches: one key, and cancel")

    read = assert(client:watchdir("/", {
        timeout = TIMEOUT, start_revision = before, prev_kv = true}))
    local count, last = 0, nil
    while count < 3 do
        for _, event in ipairs(next_events(read)) do
            count, last = count + 1, event
        end
    end
    equal(last.kv.key, "/watch/a", "key of the last event")
    equal(last.prev_kv.value, "1", "value before it")
    must("delete", client:delete("/b"))
    events = next_events(read)
    equal(events[1].type, "DELETE", "type of a delete")
    equal(events[1].kv.value, nil, "value of a delete")
    equal(events[1].prev_kv.value, "of another key", "value before a delete")
    local large = string.rep("y", LARGE)
    must("set", client:set("/large", large))
    equal(next_events(read)[1].kv.value, large, "large value of an event")
    seen("watches: a directory from a revision on")

    read = assert(client:watchdir("/", {timeout = TIMEOUT, filters = {"NOPUT"}}))
    equal(read().result.created, true, "created")
    must("set", client:set("/c", "1"))
    must("delete", client:delete("/c"))
    equal(next_events(read)[1].type, "DELETE", "type of the first event")
    seen("watches: without puts")

    read = assert(client:watchdir("/", {timeout = 0.5}))
    equal(read().result.created, true, "created")
    local body
    body, err = read()
    equal(body, nil, "message of a silent watch")
    equal(err, "timeout", "its error")
    seen("watches: silent until the client ends them")
end

-- The nodes tell of progress each second.
function groups.progress(options)
    local client = connect(options, {key_prefix = "/progress"})
    local now = revision(must("set", client:set("/a", "1")))
    local read = assert(client:watchdir("/", {timeout = TIMEOUT, progress_notify = true}))
    equal(read().result.created, true, "created")
    local body = assert(read())
    equal(body.result.events, nil, "events of a progress notification")
    assert(revision(body.result) >= now, "progress is behind: " .. show(body))
    seen("progress: a directory is told the revision")
end

function groups.compaction(options)
    local client = connect(options, {key_prefix = "/compaction"})
    local first = revision(must("set", client:set("/a", "1")))
    local last = revision(must("set", client:set("/a", "2")))
    post(options, "/v3/kv/compaction", {revision = last, physical = true})
    equal(client:get("/a", {revision = first}).body.code, 11, "code of a compacted revision")
    local read = assert(client:watchdir("/", {timeout = TIMEOUT, start_revision = first}))
    local body = assert(read())
    if body.result.created and not body.result.canceled then
        body = assert(read())
    end
    equal(body.result.canceled, true, "canceled")
    equal(body.result.compact_revision, tostring(last), "the compacted revision")
    seen("compaction: a watch from before it is told")
end

-- One of the nodes is down. The client keeps that for all workers, or for each of them; it takes
-- options only when one of the two becomes the other.
function groups.node_down(options)
    local rules = {max_fails = 1, fail_timeout = 60, retry = true, shm_name = "etcd_health"}
    assert(health_check.init(rules))
    local client = connect(options, {init_count = 0})
    for round = 1, 2 * #options.hosts do
        must("set", client:set("/down", tostring(round)))
    end
    local down = ngx.shared.etcd_health
    for _, host in ipairs(options.hosts) do
        equal(down:get("unhealthy-" .. host), host == options.down and host or nil, host)
    end
    seen("node down: only that node counts as unhealthy")

    rules.shm_name = nil
    assert(health_check.init(rules))
    client = connect(options, {init_count = 0})
    for round = 1, 2 * #options.hosts do
        local read = assert(client:watch("/down", {timeout = TIMEOUT}))
        equal(read().result.created, true, "created")
        must("set", client:set("/down", tostring(round)))
    end
    seen("node down: calls and watches go to the others")
end

-- Only users are let in; this one may do everything below /users.
function groups.users(options)
    local client = connect(options, {key_prefix = "/users"})
    for round = 1, 2 * #options.hosts do
        must("set", client:set("/a", tostring(round)))
    end
    equal(must("readdir", client:readdir("/")).count, "1", "count")
    local read = assert(client:watchdir("/", {timeout = TIMEOUT}))
    equal(read().result.created, true, "created")
    must("set", client:set("/a", "seen"))
    equal(next_events(read)[1].kv.value, "seen", "value of an event")
    seen("users: one token for calls and watches of all nodes")

    local response = connect(options):set("/elsewhere", "x")
    equal(response.status, 403, "status without permission")
    equal(response.body.error, "etcdserver: permission denied", "text without permission")
    read = assert(connect(options):watchdir("/elsewhere", {timeout = TIMEOUT}))
    local body = read()
    if body.result.created and not body.result.canceled then
        body = read()
    end
    equal(body.result.canceled, true, "watch without permission")
    seen("users: permission denied")

    local wrong, err = connect(options, {password = "wrong"}):get("/a")
    equal(wrong, nil, "response to a wrong password")
    equal(err, "authenticate refresh token fail", "its error")
    seen("users: wrong password")

    response = connect({hosts = options.hosts}):get("/a")
    equal(response.status, 400, "status without a user")
    equal(response.body.error, "etcdserver: user name is empty", "text without a user")
    client.jwt_token = "no token"
    response = client:get("/a")
    equal(response.status, 401, "status with a token that is none")
    equal(response.body.error, "etcdserver: invalid auth token", "its text")
    seen("users: no user, no token")
end

-- The nodes want a certificate.
function groups.certificate(options)
    local shown = certificate
    certificate = nil
    local response, err = connect(options):get("/a")
    certificate = shown
    equal(response, nil, "response without a certificate")
    assert(err, "no error without a certificate")
    for _ = 1, 2 * #options.hosts do
        must("set", connect(options):set("/a", "1"))
    end
    seen("certificate: asked of every client")
end

local module = {}

-- Runs the group that the request names, with the options in its body.
function module.run()
    ngx.req.read_body()
    local options = cjson.decode(ngx.req.get_body_data())
    if options.certificate then
        certificate = assert(ssl.parse_pem_cert(read_file(options.certificate)))
        key = assert(ssl.parse_pem_priv_key(read_file(options.key)))
    end
    local ran, err = xpcall(groups[ngx.var.uri:sub(2)], debug.traceback, options)
    if not ran then
        ngx.status = 500
        ngx.say("FAILED: ", err)
    end
end

return module
