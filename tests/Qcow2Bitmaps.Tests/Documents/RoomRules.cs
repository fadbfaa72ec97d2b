namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>Compares which rooms use which with what a page says that they may use.</summary>
internal static class RoomRules
{
    /// <summary>
    /// Reads what a page says in its block <c>rooms</c>: for each room a line of those that it may use. Indented lines continue it.
    /// </summary>
    /// <returns>For each room those that it may use.</returns>
    public static Dictionary<string, string[]> Read(string page) => page
        .Split("```rooms\n")[1]
        .Split("\n```")[0]
        .Replace("\n ", " ", StringComparison.Ordinal)
        .Split('\n')
        .Select(static line => line.Split(':', StringSplitOptions.TrimEntries))
        .ToDictionary(static parts => NameOf(parts[0]), static parts => NamesIn(parts[1]), StringComparer.Ordinal);

    /// <summary>Finds what is wrong.</summary>
    /// <param name="uses">Which code uses what.</param>
    /// <param name="allowed">What the page says.</param>
    /// <returns>A line for each arrow that the page does not have, each of its arrows that nobody uses, and each circle.</returns>
    public static IReadOnlyList<string> Faults(IReadOnlyCollection<RoomUse> uses, IReadOnlyDictionary<string, string[]> allowed)
    {
        var faults = new List<string>();
        foreach (IGrouping<(string From, string To), RoomUse> arrow in uses.GroupBy(static use => (use.From, use.To)))
        {
            if (allowed.GetValueOrDefault(arrow.Key.From)?.Contains(arrow.Key.To) != true)
            {
                string where = string.Join(", ", arrow.Take(5).Select(static use => $"{use.Type} in {use.File}"));
                faults.Add($"{Named(arrow.Key.From)} uses {Named(arrow.Key.To)}, and may not: {where}");
            }
        }

        faults.AddRange(
            from room in allowed
            from to in room.Value
            where !uses.Any(use => use.From == room.Key && use.To == to)
            select $"{Named(room.Key)} may use {Named(to)}, and does not");
        if (FindCircle(uses.ToLookup(static use => use.From, static use => use.To, StringComparer.Ordinal)) is { } circle)
        {
            faults.Add($"rooms use one another: {string.Join(" → ", circle.Select(Named))}");
        }

        return faults;
    }

    /// <summary>Takes away room after room that uses none which is left: what remains is circles, and what leads into them.</summary>
    private static List<string>? FindCircle(ILookup<string, string> used)
    {
        var left = used.Select(static room => room.Key).ToHashSet(StringComparer.Ordinal);
        while (left.RemoveWhere(room => !used[room].Any(left.Contains)) > 0)
        {
        }

        if (left.Count == 0)
        {
            return null;
        }

        var path = new List<string> { left.Order(StringComparer.Ordinal).First() };
        while (true)
        {
            string next = used[path[^1]].Where(left.Contains).Order(StringComparer.Ordinal).First();
            int seen = path.IndexOf(next);
            path.Add(next);
            if (seen >= 0)
            {
                return path[seen..];
            }
        }
    }

    private static string[] NamesIn(string list) =>
        [.. list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(NameOf)];

    private static string NameOf(string room) => room is "(root)" ? "" : room;

    private static string Named(string room) => room.Length == 0 ? "(root)" : room;
}
