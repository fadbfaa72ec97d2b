using System.Buffers.Binary;
using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// Operations that make an image, stopped at every write or cancelled: the image appears whole or not at all, whatever
/// there was before, and the chain is only read.
/// </summary>
public sealed class NewImageStopTests
{
    private const int CancelledPerCase = 12;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("snapshot", "device")]
    [InlineData("flatten", "new file")]
    [InlineData("flatten", "image")]
    [InlineData("flatten", "device")]
    [InlineData("flatten -c", "image")]
    public void StoppedAnywhereTheImageIsWholeOrNone(string kind, string target)
    {
        Qemu.Require();
        (int whole, int none) = (0, 0);
        Properties.ForAll(Gen.Choose(0, int.MaxValue), 4 * Properties.Factor, seed =>
        {
            (int Whole, int None) done = StopAsync(kind, target, seed).GetAwaiter().GetResult();
            (whole, none) = (whole + done.Whole, none + done.None);
        });
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{kind} to {target}: {whole} stops with an image, {none} without"));
        Assert.True(whole >= 4 * Properties.Factor && none > whole, $"{whole} whole, {none} none");
    }

    [Theory]
    [InlineData("snapshot", "device")]
    [InlineData("flatten", "image")]
    public void CancelledTheImageIsWholeOrNoneAndTheNextRunMakesIt(string kind, string target)
    {
        Qemu.Require();
        int cancelled = 0;
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue), 4 * Properties.Factor,
            seed => cancelled += CancelAsync(kind, target, seed).GetAwaiter().GetResult());
        Assert.True(cancelled > Properties.Factor, $"{cancelled} cancelled");
    }

    [Theory]
    [InlineData("snapshot")]
    [InlineData("flatten")]
    public async Task CancelledNoNewFileIsLeft(string kind)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string top = (await new CommitChain(folder, new SplitMix(7)).MakeAsync(maxLayers: 3, maxClusterBits: 12, maxSectors: 200))[0];
        string[] before = Directory.GetFiles(folder.Path);
        byte[][] contents = await Task.WhenAll(before.Select(path => File.ReadAllBytesAsync(path, Token)));
        bool isDone = false;
        int cancelled = 0;
        for (int at = 1; !isDone; at++)
        {
            using var source = new CancellationTokenSource();
            await using var storage = new CancellingStorage(
                FileStorage.Open(top, FileAccess.Read, ImageLock.Read), source, isDoneFirst: true);
            string path = folder.File("new.qcow2");
            await using ImageChain chain = await ImageChain.OpenAsync(
                storage, new ChainOpenOptions { Resolver = FileBackingResolver.ForTop(top, []) }, Token);
            storage.CancellingCall = storage.Calls + at;
            try
            {
                _ = kind == "snapshot"
                    ? (await new ChainSnapshot(chain, path, Path.GetFileName(top)).RunAsync(cancellationToken: source.Token)).Bitmaps
                    : (await new ChainFlatten(chain, path).RunAsync(cancellationToken: source.Token)).Bitmaps;
                // The last reads are behind the last look at the token.
                Assert.True(Path.Exists(path));
                isDone = !source.IsCancellationRequested;
                File.Delete(path);
            }
            catch (OperationCanceledException)
            {
                cancelled++;
            }

            Assert.Equal(before.Order(StringComparer.Ordinal), Directory.GetFiles(folder.Path).Order(StringComparer.Ordinal));
        }

        Assert.True(cancelled > 0 || kind == "snapshot", $"{cancelled} cancelled");
        Assert.Equal(contents, await Task.WhenAll(before.Select(path => File.ReadAllBytesAsync(path, Token))));
    }

    private static async Task<(int Whole, int None)> StopAsync(string kind, string target, int seed)
    {
        Case made = await Case.MakeAsync(kind, target, seed);
        await using var storage = new CrashStorage(made.Before);
        await made.RunAsync(made.Target(storage), Token);
        string expected = await made.ViewAsync(storage.ToArray());
        (int whole, int none) = (0, 0);
        bool isStarted = false;
        foreach (CrashState state in storage.States((ulong)seed, samples: 4))
        {
            if (!isStarted && state.Content.AsSpan().SequenceEqual(made.Before))
            {
                // Nothing was done yet.
                continue;
            }

            isStarted = true;
            if (IsImage(state.Content))
            {
                whole++;
                string view = await made.ViewAsync(state.Content);
                Assert.True(view == expected, $"seed {seed}, {kind} to {target}, {state}:\n{view}\nwhole:\n{expected}");
            }
            else
            {
                none++;
            }
        }

        return (whole, none);
    }

    private static async Task<int> CancelAsync(string kind, string target, int seed)
    {
        Case made = await Case.MakeAsync(kind, target, seed);
        await using var whole = new CrashStorage(made.Before);
        await made.RunAsync(made.Target(whole), Token);
        string expected = await made.ViewAsync(whole.ToArray());
        int cancelled = 0;
        int step = Math.Max(1, whole.Operations.Count / CancelledPerCase);
        for (int at = 1 + (seed % step); at <= whole.Operations.Count + 2; at += step)
        {
            using var source = new CancellationTokenSource();
            await using var there = new MemoryStorage([.. made.Before], "target");
            ImageStorage storage = made.Target(there);
            try
            {
                await made.RunAsync(new CancellingStorage(storage, source, isDoneFirst: at % 2 == 0) { CancellingCall = at }, source.Token);
            }
            catch (OperationCanceledException)
            {
                cancelled++;
                byte[] left = there.ToArray();
                Assert.True(
                    left.AsSpan().SequenceEqual(made.Before) || !IsImage(left) || await made.ViewAsync(left) == expected,
                    $"seed {seed}, {kind}, cancelled at {at}");
            }

            await made.RunAsync(storage, Token);
            Assert.Equal(expected, await made.ViewAsync(there.ToArray()));
        }

        return cancelled;
    }

    private static bool IsImage(byte[] content) =>
        content.Length >= sizeof(uint) && BinaryPrimitives.ReadUInt32BigEndian(content) == Qcow2Header.MagicNumber;

    /// <summary>An operation on a random chain whose target is a storage.</summary>
    private sealed record Case(string Kind, string TargetKind, CrashChain Chain, string Top, byte[] Before)
    {
        public static async Task<Case> MakeAsync(string kind, string target, int seed)
        {
            using var folder = TempFolder.InMemory();
            IReadOnlyList<string> paths = await new CommitChain(folder, new SplitMix((ulong)seed)).MakeAsync(
                maxLayers: 4, maxClusterBits: 12, maxSectors: 100);
            var images = new Dictionary<string, byte[]>(StringComparer.Ordinal);
            foreach (string path in paths)
            {
                images.Add(Path.GetFileName(path), await File.ReadAllBytesAsync(path, Token));
            }

            string top = Path.GetFileName(paths[0]);
            const int DeviceBytes = 1 << 20;
            byte[] before = target == "new file" ? [] : [.. images[top]];
            if (target == "device")
            {
                Array.Resize(ref before, DeviceBytes);
            }

            return new Case(kind, target, new CrashChain(images), top, before);
        }

        public ImageStorage Target(ImageStorage storage) => TargetKind == "device" ? new FixedSizeStorage(storage) : storage;

        public async Task RunAsync(ImageStorage target, CancellationToken cancellationToken)
        {
            await using ImageChain chain = await Chain.OpenAsync(Top);
            if (Kind == "snapshot")
            {
                (ImageStorage image, _) = await new ChainSnapshot(chain, "overlay.qcow2", Top).BuildAsync(cancellationToken);
                await ChainSnapshot.WriteWholeAsync(target, image, cancellationToken);
            }
            else
            {
                var flatten = new ChainFlatten(chain, "flat.qcow2", compress: Kind == "flatten -c");
                ConversionOptions options = flatten.Options with { Workers = 2 };
                await flatten.RunAsync(
                    "flat.qcow2",
                    options,
                    async size =>
                        await CopyTarget.CreateInAsync(target, options.Create! with { SizeBytes = size }, options, cancellationToken),
                    null,
                    cancellationToken);
            }

            // Reading only: nothing came to the chain's images.
            Assert.Equal(0, Chain.Operations);
        }

        public async Task<string> ViewAsync(byte[] content)
        {
            ImageViews views = await ImageViews.ReadAsync(content);
            Assert.True(views.Check is { Corruptions: 0, CheckErrors: 0 }, views.ToString());
            if (Kind != "snapshot")
            {
                await using ImageChain chain = await Chain.OpenAsync(Top);
                await using ImageChain flat = await ImageChain.OpenAsync(MemoryStorage.ReadOnly(content), new ChainOpenOptions(), Token);
                Assert.Equal(
                    ComparisonOutcome.Identical, (await DiskCopy.CompareAsync(chain, flat, cancellationToken: Token)).Outcome);
                foreach (BitmapVerdict verdict
                    in (await chain.JudgeBitmapsAsync(cancellationToken: Token)).Where(static verdict => verdict.IsValid))
                {
                    Assert.Equal(await ExtentsAsync(chain, verdict.Name), await ExtentsAsync(flat, verdict.Name));
                }
            }

            return views.Text;
        }

        private static async Task<List<DirtyExtent>> ExtentsAsync(ImageChain chain, string name) =>
            await chain.ReadExtentsAsync(name, cancellationToken: Token).ToListAsync(Token);
    }
}
