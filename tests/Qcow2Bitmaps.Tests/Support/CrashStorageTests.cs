namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The storage that replays crashes must itself catch what it is there to catch.</summary>
public sealed class CrashStorageTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task APointerWrittenWithoutAFlushAfterItsTargetIsCaught()
    {
        Assert.Contains(await ToyStatesAsync(flushesFirst: false), static state => IsNewPointerToOldData(state.Content));
    }

    [Fact]
    public async Task APointerWrittenBehindAFlushIsNot()
    {
        List<CrashState> states = await ToyStatesAsync(flushesFirst: true);

        Assert.DoesNotContain(states, static state => IsNewPointerToOldData(state.Content));
        Assert.Contains(states, static state => state.Content[0] == 1 && state.Content[^1] == 7);
    }

    [Fact]
    public async Task AWriteOverTwoSectorsIsTornAtTheirBoundaryOnly()
    {
        await using var storage = new CrashStorage(new byte[1024]);
        await storage.WriteAsync(256, Filled(512, 1), Token);

        string[] states = [
            .. storage.States().Select(static s =>
                $"{s.Content[255]}{s.Content[256]}{s.Content[511]}{s.Content[512]}{s.Content[767]}{s.Content[768]}").Order(
                    StringComparer.Ordinal)];

        Assert.Equal(["000000", "000110", "011000", "011110"], states);
    }

    [Fact]
    public async Task ASectorKeepsWhatWasWrittenToItBefore()
    {
        // The cache has both writes by the time the second could reach the disk.
        await using var storage = new CrashStorage(new byte[512]);
        await storage.WriteAsync(0, Filled(1, 1), Token);
        await storage.WriteAsync(1, Filled(1, 2), Token);

        Assert.Equal(["00", "10", "12"], storage.States().Select(static s => $"{s.Content[0]}{s.Content[1]}"));
    }

    [Fact]
    public async Task WritesSinceTheLastFlushComeInAnyOrder()
    {
        await using var storage = new CrashStorage(new byte[3 * 512]);
        await storage.WriteAsync(0, Filled(1, 1), Token);
        await storage.FlushAsync(Token);
        await storage.WriteAsync(512, Filled(1, 2), Token);
        await storage.WriteAsync(1024, Filled(1, 3), Token);

        Assert.Equal(
            ["000", "100", "103", "120", "123"],
            storage.States().Select(static s => $"{s.Content[0]}{s.Content[512]}{s.Content[1024]}").Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task AFileThatGrowsHasAnyLengthAndZerosWhereNothingArrived()
    {
        await using var storage = new CrashStorage(Filled(512, 9));
        await storage.WriteAsync(1024, Filled(600, 1), Token);

        List<CrashState> states = [.. storage.States()];

        Assert.Contains(states, static s => s.Content.Length == 512);
        Assert.Contains(states, static s => s.Content.Length == 1024 + 600 && s.Content[1024] == 0 && s.Content[^1] == 1);
        Assert.Contains(states, static s => s.Content.Length == 1024 && s.Content[1023] == 0);
        Assert.Contains(states, static s => s.Content.Length == 1024 + 512 && s.Content[^1] == 1);
        Assert.All(states, static s => Assert.True(s.Content[..512].AsSpan().SequenceEqual(Filled(512, 9))));
    }

    [Fact]
    public async Task CuttingAndDiscardingHappenOrNotForEachSector()
    {
        await using var discarded = new CrashStorage(Filled(1024, 5));
        await discarded.DiscardAsync(0, 1024, Token);
        await using var cut = new CrashStorage(Filled(1024, 5));
        await cut.SetLengthAsync(512, Token);

        Assert.Equal(
            ["00", "05", "50", "55"],
            discarded.States().Select(static s => $"{s.Content[0]}{s.Content[512]}").Order(StringComparer.Ordinal));
        Assert.Equal([512, 1024, 1024], cut.States().Select(static s => s.Content.Length).Order());
        Assert.Equal(new byte[1024], discarded.ToArray());
    }

    [Fact]
    public async Task ADeviceMayIgnoreDiscards()
    {
        await using var storage = new CrashStorage(Filled(1024, 5), ignoresDiscards: true);
        await storage.DiscardAsync(0, 1024, Token);

        Assert.Equal(Filled(1024, 5), Assert.Single(storage.States()).Content);
    }

    [Fact]
    public async Task WhatWasFlushedIsThere()
    {
        await using var storage = new CrashStorage(new byte[512]);
        await storage.WriteAsync(0, Filled(4096, 1), Token);
        await storage.FlushAsync(Token);
        await storage.WriteAsync(0, Filled(1, 2), Token);

        CrashState last = Assert.Single(storage.States(), static s => s.Content[0] == 2);

        Assert.Equal([2, .. Filled(4095, 1)], last.Content);
        Assert.Equal(storage.ToArray(), last.Content);
        Assert.Contains(storage.States(), static s => s.Content.SequenceEqual(Filled(4096, 1)));
    }

    [Fact]
    public async Task OfManySectorsASampleIsListedThatIsTheSameInEveryRun()
    {
        var storage = new CrashStorage(new byte[40 * 512]);
        for (int i = 0; i < 40; i++)
        {
            await storage.WriteAsync(i * 512, Filled(512, 1), Token);
        }

        List<CrashState> states = [.. storage.States(samples: 10)];

        int[] counts = [.. states.Select(static s => s.Content.Count(static b => b == 1) / 512)];
        Assert.Equal(states.Count, states.Select(static s => Convert.ToHexString(s.Content)).Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(
            (1, 40, 40, 1),
            (counts.Count(static c => c == 0), counts
                .Count(static c => c == 1), counts
                .Count(static c => c == 39), counts
                .Count(static c => c == 40)));
        Assert.InRange(states.Count, 100, 140);
        Assert.Equal(states.Select(static s => s.Description), storage.States(samples: 10).Select(static s => s.Description));
        Assert.NotEqual(states.Select(static s => s.Description), storage.States(seed: 2, samples: 10).Select(static s => s.Description));
        await storage.DisposeAsync();
    }

    [Fact]
    public async Task DescriptionsTellTheSectors()
    {
        await using var storage = new CrashStorage(new byte[1024]);
        await storage.WriteAsync(0, Filled(1, 1), Token);
        await storage.FlushAsync(Token);
        await storage.WriteAsync(510, Filled(4, 2), Token);

        Assert.Equal(
            "operations 1 to 2 are there; of [write 0x1fe+4], 2 sectors changed, these are there: {0x200}, length 0x400",
            storage.States().Single(static s => s.Content[511] == 0 && s.Content[512] == 2).Description);
    }

    private static byte[] Filled(int length, byte value)
    {
        var bytes = new byte[length];
        bytes.AsSpan().Fill(value);
        return bytes;
    }

    /// <summary>Writes data far behind, then a pointer to them at the start.</summary>
    private static async Task<List<CrashState>> ToyStatesAsync(bool flushesFirst)
    {
        await using var storage = new CrashStorage(new byte[512]);
        await storage.WriteAsync(2048, Filled(1024, 7), Token);
        if (flushesFirst)
        {
            await storage.FlushAsync(Token);
        }

        await storage.WriteAsync(0, Filled(1, 1), Token);
        await storage.FlushAsync(Token);
        return [.. storage.States()];
    }

    private static bool IsNewPointerToOldData(byte[] content) =>
        content[0] == 1 && (content.Length < 3072 || content.AsSpan(2048, 1024).ContainsAnyExcept((byte)7));
}
