namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>The check of the rooms finds what it is for, on made-up sources and pages.</summary>
public sealed class RoomRulesTests
{
    private const string Disk =
        "namespace Made.Disks; class Disk { public int Size; public static Disk operator +(Disk a, Disk b) => a; }";

    private const string Shown =
        """
        namespace Made;

        /// <summary>Not <see cref="Made.Pools.Pool"/>.</summary>
        class Shown { public Made.Disks.Disk[] All = []; public class Part; }
        """;

    private const string Pool =
        """
        using Made.Disks;

        namespace Made.Pools;

        class Pool
        {
            string Name = nameof(System.IO.Path);
            int A(Shown shown) { var first = shown.All[0]; return first.Size; }
            Shown.Part B() => new();
        }
        """;

    [Fact]
    public void UsesAreFoundByMeaningWhateverTheNamespace()
    {
        IReadOnlyList<RoomUse> uses = RoomUses.Find(
        [
            ("Disks/Disk.cs", Disk),
            ("Disks/Shown.cs", Shown),
            ("Pools/Pool.cs", Pool),
            ("Pools/Other.cs", "using Made.Disks; namespace Made.Pools; class Other;"),
        ]);
        Assert.Equal(
            [new RoomUse("Pools", "Disks", "Disk", "Pools/Pool.cs"), new RoomUse("Pools", "Disks", "Shown", "Pools/Pool.cs")],
            uses.OrderBy(static use => use.Type, StringComparer.Ordinal));
    }

    [Fact]
    public void WhatDoesNotCompileIsNotTakenForUsedByNobody() =>
        Assert.Throws<InvalidOperationException>(static () => RoomUses.Find([("Pools/Pool.cs", "class Pool { Disk disk; }")]));

    [Fact]
    public void APageSaysWhatRoomsMayUse()
    {
        Dictionary<string, string[]> read =
            RoomRules.Read("Text\n\n```rooms\n(root):\nDisks/Pools: Disks,\n    (root)\n```\n\nMore: text\n");
        Assert.Equal(["", "Disks/Pools"], read.Keys);
        Assert.Empty(read[""]);
        Assert.Equal(["Disks", ""], read["Disks/Pools"]);
    }

    [Fact]
    public void RoomsThatKeepToThePageHaveNoFaults() =>
        Assert.Empty(RoomRules.Faults([Use("B", "A"), Use("C", "A"), Use("C", "B")], Page("A:", "B:A", "C:A,B")));

    [Fact]
    public void AnArrowThatThePageDoesNotHaveIsFound() =>
        Assert.Equal(
            ["B uses C, and may not: TypeOfC in B/File.cs"],
            RoomRules.Faults([Use("B", "A"), Use("B", "C")], Page("A:", "B:A", "C:")));

    [Fact]
    public void AnArrowThatNobodyUsesIsFound() =>
        Assert.Equal(["B may use (root), and does not"], RoomRules.Faults([Use("B", "A")], Page("A:", "B:A,")));

    [Fact]
    public void ACircleIsFoundEvenWhereThePageAllowsIt() => Assert.Equal(
        ["rooms use one another: A → C → B → A"],
        RoomRules.Faults([Use("A", "C"), Use("C", "B"), Use("B", "A"), Use("D", "A")], Page("A:C", "B:A", "C:B", "D:A")));

    private static RoomUse Use(string from, string to) => new(from, to, $"TypeOf{to}", $"{from}/File.cs");

    private static Dictionary<string, string[]> Page(params string[] rooms) =>
        rooms.Select(static room => room.Split(':')).ToDictionary(
            static parts => parts[0],
            static parts => parts[1].Length == 0 ? [] : parts[1].Split(','),
            StringComparer.Ordinal);
}
