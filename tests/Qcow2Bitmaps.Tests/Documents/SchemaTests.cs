using Qcow2Bitmaps.Tests.Backups;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>
/// What the tool prints as JSON is what the committed schemas say, of every fixture that it reads and of every operation.
/// </summary>
public sealed class SchemaTests
{
    private static readonly string s_schemas = Path.Combine(Document.Root, "docs", "schemas");

    [Fact]
    public async Task AllFixturesPrintWhatTheSchemasSay()
    {
        int printed = 0;
        foreach (string image
            in Directory.EnumerateFiles(FixtureFiles.Root, "*", SearchOption.AllDirectories).Where(
                static path => Path.GetExtension(path) is ".qcow2" or ".raw"))
        {
            string[] bitmaps = [.. FixtureIndex.Images.Where(fixture => fixture.Path == image)
                .SelectMany(static fixture => fixture.Bitmaps.Select(static bitmap => bitmap.Name))
                .Take(2)];
            string[][] commands =
            [
                ["info", "--lenient", image],
                ["info", "--backing-chain", image],
                ["check", image],
                ["map", image],
                ["chain", "check", image],
                ["measure", "-O", "qcow2", image],
                .. bitmaps.Select(name => new[] { "extents", "--lenient", "--all", image, name }),
            ];
            foreach (string[] command in commands)
            {
                printed += await ExpectValidAsync(SchemaOf(command), command) ? 1 : 0;
            }
        }

        // Some fixtures are broken on purpose; most print.
        Assert.True(printed > 300, $"only {printed} documents were validated");
    }

    [Fact]
    public async Task OperationsPrintWhatTheSchemasSay()
    {
        using DocumentFolder folder = await DocumentFolder.CreateAsync();
        string File(string name) => Path.Combine(folder.Path, name);
        string[][] commands =
        [
            ["bitmap", "--add", File("vda.qcow2"), "new"],
            ["chain", "snapshot", File("vda-3.qcow2"), File("vda-4.qcow2")],
            ["chain", "reconcile", "--expect", "chk-a", "--expect", "absent", File("vda-4.qcow2")],
            ["chain", "reconcile", "--expect", "chk-a", File("top.qcow2")],
            ["chain", "flatten", File("vda-4.qcow2"), File("flat.qcow2")],
            ["chain", "measure", "--commit", File("vda-3.qcow2"), File("vda-4.qcow2")],
            ["chain", "measure", "--pull", File("vda-4.qcow2")],
            ["chain", "measure", "--snapshot", File("vda-4.qcow2")],
            ["chain", "measure", "--flatten", "--tables", File("vda-4.qcow2")],
            ["chain", "commit", File("vda-4.qcow2"), File("vda-3.qcow2")],
            ["chain", "pull", "--base", File("vda-1.qcow2"), File("vda-3.qcow2")],
            ["chain", "check", File("top.qcow2")],
            ["chain", "populate", File("top.qcow2"), "chk-a"],
            ["chain", "rebase", "-b", "base.qcow2", "-F", "qcow2", File("top.qcow2")],
            ["chain", "prune", File("top.qcow2")],
            ["chain", "delete", File("top.qcow2"), "chk-a"],
            ["chain", "reconcile", "--drop", File("vda-3.qcow2")],
            ["extents", File("vda.qcow2"), "chk-a"],
            ["measure", "-O", "qcow2", "--size", "1T"],
        ];
        foreach (string[] command in commands)
        {
            Assert.True(await ExpectValidAsync(SchemaOf(command), command), $"{string.Join(' ', command)} printed nothing");
        }
    }

    [Fact]
    public async Task BackupsPrintWhatTheSchemasSay()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        string[][] commands =
        [
            ["backup", "full", scene.Disk, scene.Backup("raw"), "-O", "raw"],
            ["backup", "full", scene.Disk, scene.Backup("a"), "--checkpoint", "c"],
            ["backup", "incremental", scene.Disk, scene.Backup("b"), "--since", "c", "--checkpoint", "d", "--extents"],
            ["backup", "incremental", scene.Disk, scene.Backup("e"), "--since", "d", "--extents"],
            ["backup", "incremental", scene.Disk, scene.Backup("f"), "--since", "gone", "--fallback", "full", "--checkpoint", "g"],
            ["backup", "verify", scene.Backup("b")],
            ["backup", "verify", scene.Backup("f"), "--disk", scene.Disk],
            ["backup", "verify", scene.Backup("a"), "--disk", scene.Disk, "--since", "d"],
            ["backup", "restore", scene.Backup("e"), scene.Backup("restored")],
            ["backup", "list", folder.Path],
        ];
        foreach (string[] command in commands)
        {
            if (command[1] == "incremental")
            {
                await scene.WriteAsync("write -P 9 1M 64k", "write -z 2M 64k");
            }

            Assert.True(await ExpectValidAsync(SchemaOf(command), command), $"{string.Join(' ', command)} printed nothing");
        }

        JsonSchema manifest = await ReadAsync("backup-manifest");
        string[] manifests = [.. Directory.EnumerateFiles(folder.Path, "*.backup.json")];
        Assert.Equal(5, manifests.Length);
        foreach (string path in manifests)
        {
            Assert.Empty(manifest.Validate(await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken)));
        }

        // One that another program made.
        string foreign = Path.Combine(Directory.CreateDirectory(folder.File("foreign")).FullName, "full");
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", scene.Disk, foreign);
        string[] adopt = ["backup", "adopt", "--disk", scene.Disk, "--checkpoint", "g"];
        foreach (string[] command
            in new string[][]
            {
                [.. adopt, foreign],
                [.. adopt, foreign],
                ["backup", "restore", foreign, scene.Backup("again")],
                ["backup", "list", folder.File("foreign")],
            })
        {
            Assert.True(await ExpectValidAsync(SchemaOf(command), command), $"{string.Join(' ', command)} printed nothing");
        }

        Assert.Empty(manifest.Validate(await File.ReadAllTextAsync(foreign + ".backup.json", TestContext.Current.CancellationToken)));

        // What is broken is listed and reported in the same form.
        await File.WriteAllTextAsync(scene.Backup("x.backup.json"), "{}", TestContext.Current.CancellationToken);
        byte[] image = await File.ReadAllBytesAsync(scene.Backup("raw"), TestContext.Current.CancellationToken);
        image[5] ^= 1;
        await File.WriteAllBytesAsync(scene.Backup("raw"), image, TestContext.Current.CancellationToken);
        foreach (string[] command in new string[][] { ["backup", "list", folder.Path], ["backup", "verify", scene.Backup("raw")] })
        {
            Assert.True(await ExpectValidAsync(SchemaOf(command), command), $"{string.Join(' ', command)} printed nothing");
        }
    }

    [Fact]
    public async Task EverySchemaIsUsedAndListed()
    {
        string index = await File.ReadAllTextAsync(Path.Combine(s_schemas, "README.md"), TestContext.Current.CancellationToken);
        foreach (string path in Directory.EnumerateFiles(s_schemas, "*.json"))
        {
            Assert.Contains($"]({Path.GetFileName(path)})", index, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("{\"filename\": \"a\", \"bitmaps\": [], \"more\": 1}", "$: 'more' is not in the schema")]
    [InlineData("{\"bitmaps\": []}", "$: 'filename' is missing")]
    [InlineData("{\"filename\": 1, \"bitmaps\": []}", "$.filename: 1 is no string")]
    [InlineData(
        "{\"filename\": \"a\", \"bitmaps\": [{\"flags\": [\"new\"], \"name\": \"n\", \"granularity\": 1}]}",
        "$.bitmaps[0].flags[0]: new is none of [\"in-use\",\"auto\"]")]
    public async Task WhatIsNotAllowedIsFound(string json, string fault)
    {
        JsonSchema schema = await ReadAsync("bitmap");
        Assert.Equal(fault, schema.Validate(json)[0]);
    }

    private static string SchemaOf(string[] command) => command switch
    {
        ["chain", "check" or "measure" or "reconcile", ..] => $"chain-{command[1]}",
        ["chain", ..] => "chain-operation",
        ["backup", "full" or "incremental", ..] => "backup",
        ["backup", ..] => $"backup-{command[1]}",
        _ => command[0],
    };

    private static async Task<JsonSchema> ReadAsync(string name) =>
        new(await File.ReadAllTextAsync(Path.Combine(s_schemas, name + ".json")));

    /// <summary>Runs a command and validates what it prints.</summary>
    /// <returns>Whether it printed anything.</returns>
    private static async Task<bool> ExpectValidAsync(string schema, string[] command)
    {
        int verb = command[0] is "chain" or "backup" ? 2 : 1;
        ProcessResult result = await Support.Cli.RunAsync([.. command[..verb], "--output", "json", .. command[verb..]]);
        if (result.Output.Length == 0)
        {
            return false;
        }

        IReadOnlyList<string> faults = (await ReadAsync(schema)).Validate(result.Output);
        Assert.True(faults.Count == 0, $"{string.Join(' ', command)}: {string.Join('\n', faults)}\n{result.Output}");
        return true;
    }
}
