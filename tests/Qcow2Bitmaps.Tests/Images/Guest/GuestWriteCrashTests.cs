using FsCheck.Fluent;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>
/// Stops of a writer at any moment, with any part of what was not flushed on disk: the image opens, a check finds leaks at worst, what was
/// flushed is there, the rest is old or new, and recording bitmaps are valid and have every change.
/// </summary>
public sealed class GuestWriteCrashTests
{
    private const int SectorBytes = 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void NothingFlushedIsLost()
    {
        Qemu.Require();
        Properties.ForAll(
            WriteCase.Generator.Where(static write => write.DataFile.Length == 0).Select(
                static write => write with { SizeBytes = Math.Min(write.SizeBytes, 700 * SectorBytes) }),
            25 * Properties.Factor,
            static write => RunAsync(write).GetAwaiter().GetResult());
    }

    private static async Task RunAsync(WriteCase write)
    {
        using var folder = TempFolder.InMemory();
        string path = await WriteImage.CreateAsync(folder, write, "ours");
        var options = new ChainOpenOptions { Resolver = FileBackingResolver.ForTop(path) };
        var storage = new CrashStorage(await File.ReadAllBytesAsync(path, Token));
        byte[] model = await ReadAsync(storage.ToArray(), options);
        // The disk after each step, when the step began, and whether it was a flush.
        var versions = new List<(byte[] Disk, int Began, int Ended, bool IsFlushed)> { ([.. model], 0, 0, true) };
        await using (ImageChain chain = await ImageChain.OpenAsync(storage, options with { WritableLayers = [0] }, Token))
        {
            await using Disk writer = await chain.OpenWriterAsync(Token);
            foreach (WriteStep step in write.Steps)
            {
                int began = storage.Operations.Count;
                await WriteImage.TakeAsync(step, write, writer, model);
                versions.Add(([.. model], began, storage.Operations.Count, step.Action == WriteAction.Flush));
            }
        }

        int count = 0;
        foreach (CrashState state in storage.States(exhaustive: 8, samples: 5))
        {
            await AssertSoundAsync(state, versions, options, write.IsVersion2);
            if (++count % 40 == 0)
            {
                string crashed = folder.Write("crashed.qcow2", state.Content);
                ProcessResult check = await Qemu.ImgAsync("check", crashed);
                Assert.True(check.ExitCode is 0 or 3, $"{state}: {check.Output}{check.Error}");
            }
        }
    }

    private static async Task AssertSoundAsync(
        CrashState state, List<(byte[] Disk, int Began, int Ended, bool IsFlushed)> versions, ChainOpenOptions options, bool isVersion2)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(state.Content), cancellationToken: Token);
        CheckReport check = await image.CheckAsync(Token);
        Assert.True(
            check.Corruptions == 0 && check.CheckErrors == 0,
            $"{state}: {string.Join('\n', check.Findings.Select(static f => f.Message))}");

        byte[] disk = await ReadAsync(state.Content, options);
        int oldest = versions.FindLastIndex(version => version.IsFlushed && version.Ended <= state.Flushed);
        int newest = versions.FindLastIndex(version => version.Began < Math.Max(1, state.Begun));
        for (int at = 0; at < disk.Length; at += SectorBytes)
        {
            bool isKnown = false;
            for (int i = oldest; i <= newest && !isKnown; i++)
            {
                isKnown = disk.AsSpan(at, SectorBytes).SequenceEqual(versions[i].Disk.AsSpan(at, SectorBytes));
            }

            Assert.True(isKnown, $"{state}: the sector at {at} is neither as flushed nor as written since");
        }

        if (!isVersion2)
        {
            Assert.Equal(3, image.Bitmaps.Count);
            await AssertCoveredAsync(state, image, versions[0].Disk, disk);
        }
    }

    private static async Task AssertCoveredAsync(CrashState state, Qcow2Image image, byte[] before, byte[] now)
    {
        foreach (BitmapInfo bitmap in image.Bitmaps.Where(static b => b.Name != "off"))
        {
            Assert.Equal(BitmapState.Recording, bitmap.State);
            DirtyBitmap bits = await image.Bitmaps.LoadAsync(bitmap, cancellationToken: Token);
            for (int at = 0; at < now.Length; at += SectorBytes)
            {
                Assert.True(
                    bits.IsDirty(at) || before.AsSpan(at, SectorBytes).SequenceEqual(now.AsSpan(at, SectorBytes)),
                    $"{state}: '{bitmap.Name}' misses the change at {at}");
            }
        }
    }

    private static async Task<byte[]> ReadAsync(byte[] content, ChainOpenOptions options)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(MemoryStorage.ReadOnly(content), options, Token);
        var disk = new byte[chain.SizeBytes];
        Assert.Equal(disk.Length, await chain.ReadAsync(0, disk, Token));
        return disk;
    }
}
