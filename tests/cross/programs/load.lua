-- SPDX-License-Identifier: BSD-3-Clause
--
-- Tables, strings, closures and the collector.

local words, count = {}, 0
local state = 1

local function random(n)
	state = (state * 16807) % 2147483647
	return state % n + 1
end

for i = 1, 20000 do
	local word = string.rep(string.char(96 + random(26)), random(40)) .. i
	words[#words + 1] = word
	if random(3) == 1 then
		table.remove(words, random(#words > 500 and 500 or #words))
	end
end
table.sort(words)
for i, word in ipairs(words) do
	count = count + #word * (i % 7)
end
print(#words, count, words[1], words[#words])

local text = table.concat(words, " ")
local found = {}
for word in text:gmatch("%a+") do
	found[word] = (found[word] or 0) + 1
end
local names = {}
for word in pairs(found) do
	names[#names + 1] = word
end
table.sort(names)
print(#names, names[1], #text, select(2, text:gsub("a+", "%0%0")))

local closures = {}
for i = 1, 5000 do
	closures[i] = function(x)
		return { x + i, { x } }
	end
end
local sum = 0
for round = 1, 5 do
	for i = 1, #closures do
		sum = sum + closures[i](round)[1]
	end
	collectgarbage()
end
print(sum)
